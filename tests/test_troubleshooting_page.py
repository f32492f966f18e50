"""The page about trouble: its lines are those that the code can say, and all of them."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.test_docs import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def explained_lines() -> list[str]:
    section = PAGE.partition("## Log lines")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.*?) \| ", section, flags=re.MULTILINE)
    return [line for first in firsts for line in re.findall(r"`([^`]+)`", first) if " " in line]


@cache
def sentences() -> list[str]:
    """Return all texts of the package, with a mark where a value goes."""
    found: list[str] = []
    for path in (ROOT / "lotus_durable").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value.replace("{}", "segment \0")  # what a writer says of its own, see queue/carry_over.py
                found.append(re.sub(r"%(?:\.\d+f|[sdr])|\{\w[^}]*\}", "\0", text))
            elif isinstance(node, ast.JoinedStr):
                parts = [each.value if isinstance(each, ast.Constant) else "\0" for each in node.values]
                found.append("".join(map(str, parts)))
    return found


def test_the_log_lines_that_the_page_explains_are_those_of_the_code() -> None:
    assert len(explained_lines()) > 50
    text = "\n".join(sentences())
    for line in explained_lines():
        pieces = [piece.strip(" …:;()") for piece in line.split("…")]
        for piece in pieces:
            assert len(piece) < 4 or piece in text, f"{line!r}: {piece!r} is in no message"


def test_the_warnings_of_a_process_that_tracks_are_explained() -> None:
    """Those that are made in one place each; what the server says, and the disk, has no end."""
    for module in ("flusher/look.py", "flusher/hung.py", "tracker.py", "client.py"):
        for node in ast.walk(ast.parse((ROOT / "lotus_durable" / module).read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in ("warning", "error") and isinstance(node.args[0], ast.Constant):
                message = str(node.args[0].value)
                pieces = [piece.strip(" …:;()") for piece in re.split(r"%(?:\.\d+f|[sdr])", message)]
                longest = max(pieces, key=len)
                assert not longest or longest in PAGE, message
