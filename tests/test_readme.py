"""The README: its first page, its options, its two commands. Its examples are run by test_docs."""

from __future__ import annotations

import re
from pathlib import Path

from lotus_durable.config import describe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
CONSOLE = re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)


def options_table() -> str:
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {about} |" for name, default, about in describe()]
    return "\n".join(["| option | default | what it is |", "| --- | --- | --- |", *rows])


def test_the_first_page_has_the_picture_both_commands_the_example_and_how_to_see_that_it_works() -> None:
    first = "\n".join(README.splitlines()[:80])
    assert "your processes" in first
    assert "the flusher" in first
    assert [block.strip() for block in CONSOLE[:2]] == [
        "python3 -m venv .venv && .venv/bin/pip install --quiet . && .venv/bin/lotus-durable demo",
        "python3 -m venv .venv && .venv/bin/pip install --quiet tox && .venv/bin/tox",
    ]
    assert len(EXAMPLES[0].splitlines()) == 5
    assert "lotus.queue_dir = " in EXAMPLES[0]
    assert CONSOLE[2].startswith("lotus-durable status")


def test_each_line_of_the_promise_is_numbered() -> None:
    promise = README.partition("## What it promises")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d)\. \*\*", promise, flags=re.MULTILINE) == list("123456789")


def test_the_options_table_is_what_the_configuration_says() -> None:
    shown = README.partition("<!-- options -->\n")[2].partition("\n<!-- /options -->")[0]
    assert shown == options_table()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert CONSOLE[1].strip() in (ROOT / ".ci" / "run").read_text()


def test_the_changelog_knows_this_version() -> None:
    from lotus_durable import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_page_is_named_in_the_last_section() -> None:
    last = README.partition("\n## More\n")[2]
    pages = [page.relative_to(ROOT) for page in sorted((ROOT / "docs").glob("*.md"))]
    assert [page for page in pages if f"({page})" not in last] == []
