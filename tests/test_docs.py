"""The pages: examples and commands run as written, and what they name is there.

Only one thing of an example is replaced: the queue directory, ``/var/lib/app/lotus`` in all of them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from lotus_durable.cli import entry
from lotus_durable.cli.command import WrongUsage
from lotus_durable.config import environment_options
from lotus_durable.testing import FakeLotus

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WITH_EXAMPLES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
UPGRADING = (ROOT / "docs" / "upgrading.md").read_text()
QUEUE = "/var/lib/app/lotus"
KEY = "YOUR API KEY"
KEPT = {"LOTUS_ENV_FILE", "LOTUS_NAME", "LOTUS_"}
"""Names that begin like variables of ours and are no options: the environment file, and placeholders."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def of_all(language: str) -> list[tuple[Path, str]]:
    return [(page, block) for page in WITH_EXAMPLES for block in blocks(page, language)]


def named(found: tuple[Path, str]) -> str:
    return f"{found[0].stem}: {found[1].strip().splitlines()[-1][:50]}"


EXAMPLES = of_all("python")
COMMANDS = [
    (page, line.strip())
    for page, block in of_all("console")
    for line in block.splitlines()
    if line.strip().startswith("lotus-durable ")
]


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    return tmp_path / "queue"


@pytest.fixture
def environment(fake_lotus_factory: Callable[..., FakeLotus], queue: Path) -> dict[str, str]:
    """That of a program whose server is a FakeLotus; it ends its flusher when the directory is removed."""
    server = fake_lotus_factory("L24", api_key=KEY)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOTUS_")}
    settings = {"LOTUS_HOST": server.host, "LOTUS_QUEUE_DIR": str(queue), "LOTUS_API_KEY": KEY}
    # On a busy machine a flusher may take longer to start than an example waits for it at its end.
    return {**inherited, **settings, "LOTUS_EXIT_TIMEOUT": "60"}


@pytest.fixture(autouse=True)
def _no_flusher_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    if (tmp_path / "queue" / "journal").is_dir():
        ended = subprocess.run(
            [sys.executable, "-m", "lotus_durable", "stop", "--queue-dir", tmp_path / "queue"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


def removed_things() -> list[str]:
    """Return what is in quotes in the first column of the table of what no longer needs doing."""
    table = UPGRADING.partition("## What no longer needs doing")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| ", table, flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=Path(environment["LOTUS_QUEUE_DIR"]).parent,
    )


def track_one(environment: dict[str, str]) -> None:
    code = "import lotus_durable as lotus; lotus.track_event(customer_id='customer123', event_name='api_call')"
    assert run(environment, "-c", code).returncode == 0


@pytest.mark.parametrize("found", EXAMPLES, ids=map(named, EXAMPLES))
def test_every_example_runs_as_written(
    found: tuple[Path, str], environment: dict[str, str], queue: Path, tmp_path: Path
) -> None:
    page, example = found
    if page.stem == "moving-from-lotus-python":
        environment = {**environment, "LOTUS_API_KEY": ""}  # it sets its own
    program = tmp_path / "example.py"
    program.write_text(example.replace(QUEUE, str(queue)))
    result = run(environment, str(program))
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "on disk" not in result.stdout


@pytest.mark.parametrize("found", COMMANDS, ids=map(named, COMMANDS))
def test_every_command_runs_as_written(found: tuple[Path, str], environment: dict[str, str], queue: Path) -> None:
    words = shlex.split(found[1].replace(QUEUE, str(queue)))[1:]
    track_one(environment)
    if words[0] == "import":
        export = ["export", "--output", words[1], "--queue-dir", str(queue)]
        assert run(environment, "-m", "lotus_durable", *export).returncode == 0
    if words[0] == "flusher":
        check_that_it_serves(environment, words)
        return
    result = run(environment, "-m", "lotus_durable", *words)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""


def check_that_it_serves(environment: dict[str, str], words: list[str]) -> None:
    service = subprocess.Popen(
        [sys.executable, "-m", "lotus_durable", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert service.stderr is not None
        assert any("flushes" in line or "started as process" in line for line in service.stderr)
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.communicate()


def test_what_status_shows_is_what_the_readme_shows(environment: dict[str, str], queue: Path) -> None:
    track_one(environment)
    assert run(environment, "-m", "lotus_durable", "drain", "--timeout", "60").returncode == 0
    shown = run(environment, "-m", "lotus_durable", "status", "--queue-dir", str(queue)).stdout
    [sample] = [block for block in blocks(ROOT / "README.md", "text") if block.startswith("queue in ")]
    rows = re.compile(r"^([a-z-]+):?  ?", flags=re.MULTILINE)
    assert rows.findall(sample) == rows.findall(shown)


def test_a_directory_can_be_copied_and_put_back_as_the_page_says(environment: dict[str, str], queue: Path) -> None:
    [command] = [line for _, line in COMMANDS if " backup " in line]
    track_one(environment)
    assert run(environment, "-m", "lotus_durable", *shlex.split(command.replace(QUEUE, str(queue)))[1:]).returncode == 0
    assert run(environment, "-m", "lotus_durable", "stop").returncode == 0
    queue.rename(f"{queue}-old")
    Path(f"{queue}-backup").rename(queue)
    track_one(environment)
    report = run(environment, "-m", "lotus_durable", "drain", "--timeout", "60")
    assert report.returncode == 0, report.stderr


# What the pages name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@cache
def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    names = re.findall(r"`((?:tests|findings|benchmarks|docs|lotus_durable)/[\w./-]+)`", page.read_text())
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


def test_every_module_that_contributing_and_architecture_name_is_there() -> None:
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"):
        for name in re.findall(r"\b((?:[a-z]+/)*[a-z_]+\.py|[a-z]+/)(?=[`,) ])", page.read_text()):
            found = [*(ROOT / "lotus_durable").rglob(Path(name).name), *ROOT.glob(name)]
            assert found, f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_that_a_page_names_is_an_option_s(page: Path) -> None:
    text = page.read_text()
    if page.stem in ("deploying", "CHANGELOG"):
        text = text.replace("`LOTUS_API_KEY = …`", "")
    named = {name for name in re.findall(r"\bLOTUS_[A-Z_]*", text) if not name.startswith("LOTUS_TEST")}
    assert named <= environment_options() | KEPT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    removed = set(removed_things())
    for command in re.findall(r"`lotus-durable ([a-z][^`…]*)`", page.read_text()):
        words = shlex.split(command.split(" [")[0])
        if any(command.startswith(each) for each in removed) or f"lotus-durable {command}" in removed:
            continue
        try:
            entry.parser().parse_args(words)
        except WrongUsage:
            pytest.fail(f"there is no such command: lotus-durable {command}")
