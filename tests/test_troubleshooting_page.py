"""The page about trouble: its lines are those that the code can say, and all of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_docs import ROOT

PACKAGE = ROOT / "lotus_durable"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
GAP = "\0"
"""Where a value goes."""
ERRORS = {
    "AttentionNeeded", "DeliveryBlocked", "DiskRefused", "LaterFormat", "QueueDamaged", "QueueDirectoryError",
    "QueueFull",
}  # fmt: skip
"""What is raised at the call, or logged and given to ``on_error``."""
REASONS = (
    "delivery/verdict.py", "flusher/early_warning.py", "flusher/hung.py", "flusher/look.py", "flusher/organisation.py",
    "flusher/starting.py", "http/failure.py", "queue/carry_over.py", "relay/connection.py", "relay/publisher.py",
)  # fmt: skip
"""Whose sentences are the reasons in such lines."""
NO_LINES = ("testing", "operate", "cli")
"""Whose errors are not logged: commands print theirs, and end."""
NO_SENTENCE = re.compile(r"SELECT|/proc/|the last row fits everything|events may pass now")
ALREADY_DELIVERED = {"Event idempotency already exists", "Duplicate event idempotency in request"}
"""Words of the server that are no trouble."""


def explained_lines() -> list[str]:
    firsts = re.findall(r"^\| (`.*?) \| ", PAGE, flags=re.MULTILINE)
    return [line for first in firsts for line in re.findall(r"`([^`]+)`", first) if " " in line]


def pieces(line: str) -> list[str]:
    return [piece for each in re.split(f"…|{GAP}", line) if len(piece := each.strip(" …:;(),.")) > 2]


def text_of(node: ast.expr) -> str | None:
    """Return what a string says, with a mark where a value goes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value.replace("{}", f"segment {GAP}")  # what a writer says of its own, see queue/carry_over.py
        return re.sub(r"%(?:\.\d+f|[sdr])|\{\w[^}]*\}", GAP, text)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else GAP for each in node.values)
    return None


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def sentences() -> str:
    """Return all texts of the package."""
    found = (
        text_of(node) for path in PACKAGE.rglob("*.py") for node in ast.walk(parsed(path)) if isinstance(node, ast.expr)
    )
    return "\n".join(text for text in found if text)


def said_to_operators() -> Iterator[tuple[str, str]]:
    """Give each text that is logged as a warning or an error, or raised at the call, and where it is."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and node.args and (text := text_of(node.args[0])):
                where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                is_logged = (
                    isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("warning", "error", "exception")
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "logger"
                )
                is_error = isinstance(node.func, ast.Name) and node.func.id in ERRORS
                if is_logged or (is_error and not where.startswith(NO_LINES)):
                    yield where, text


def reasons() -> Iterator[tuple[str, str]]:
    """Give each sentence of the modules that say why, and where it is."""
    for name in REASONS:
        module = parsed(PACKAGE / name)
        no_reasons: set[ast.AST] = set()
        for node in ast.walk(module):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
                no_reasons.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                no_reasons |= set(node.values)
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("info", "debug")
            ):
                no_reasons |= set(ast.walk(node))
        for node in ast.walk(module):
            text = text_of(node) if isinstance(node, ast.expr) and node not in no_reasons else None
            if text and len(re.findall(r"[a-z]{2,}", text)) >= 4 and not NO_SENTENCE.search(text):
                yield f"{name}:{node.lineno}", text  # type: ignore[attr-defined]


@cache
def explained() -> re.Pattern[str]:
    """Match a text that has the words of a line of the page in their order, or a long part of one."""
    lines = [pieces(line) for line in explained_lines()]
    whole = {".*".join(map(re.escape, line)) for line in lines if line}
    parts = {re.escape(piece) for line in lines for piece in line if len(piece) > 16}
    return re.compile("|".join(whole | parts), flags=re.DOTALL)


def test_the_lines_that_the_page_explains_are_those_of_the_code() -> None:
    assert len(explained_lines()) > 100
    text = sentences()
    for line in explained_lines():
        for piece in pieces(line):
            assert len(piece) < 4 or piece in text, f"{line!r}: {piece!r} is in no message"


@pytest.mark.parametrize("source", [said_to_operators, reasons])
def test_every_line_that_the_code_can_say_is_explained(source: object) -> None:
    assert callable(source)
    unexplained = [
        f"{where}: {text.replace(GAP, '…')}"
        for where, text in source()
        if sum(map(len, pieces(text))) > 3 and text not in ALREADY_DELIVERED and not explained().search(text)
    ]
    assert unexplained == []
