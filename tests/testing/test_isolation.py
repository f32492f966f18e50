"""With the pytest plugin an application's tests touch nothing real: runs of pytest, beside a server that plays it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from lotus_durable.testing import FakeLotus, listener
from tests.scripts import ROOT, environment

USERS = Path(__file__).parent / "users"


class Real:
    """What must not be touched: a server, a queue, a home."""

    def __init__(self, server: FakeLotus, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.queue = folder / "real queue"
        self.home = folder / "home"

    def run(self, *arguments: str, **more: str) -> tuple[dict[str, str], str]:
        """Run the users' tests; return what each came to, and the output."""
        settings = {
            "REAL_HOST": self.server.host,
            "REAL_QUEUE": str(self.queue),
            # What the developer's shell says: an application may have nothing else.
            "LOTUS_API_KEY": "real-key",
            "LOTUS_HOST": self.server.host,
            "LOTUS_QUEUE_DIR": str(self.queue),
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{USERS}",
            **more,
        }
        report = self.folder / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", f"--junitxml={report}", "-c", "/dev/null"]
        command += [f"--rootdir={USERS}", f"--confcutdir={USERS}", f"--basetemp={self.folder / 'temp'}"]
        command += ["-p", "no:cacheprovider", "-W", "error"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=USERS,
            env=environment(**settings),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        return outcomes(report) if report.exists() else {}, done.stdout + done.stderr

    def check_that_nothing_was_touched(self) -> None:
        assert self.server.request_count == 0
        assert not self.queue.exists()
        assert not self.home.exists()


def outcomes(report: Path) -> dict[str, str]:
    return {
        str(case.get("name")): next((str(each.tag) for each in case if each.tag != "properties"), "passed")
        for case in ET.parse(report).iter("testcase")
    }


@contextlib.contextmanager
def serving() -> Iterator[FakeLotus]:
    """Serve at a loopback address that no other process has: whoever still tries a port that was his does not come."""
    pid = os.getpid()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "LOOPBACK", f"127.{64 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}")
        with FakeLotus("L24", api_key="real-key") as server:
            yield server


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    with serving() as server:
        yield Real(server, tmp_path)


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_an_applications_tests_touch_nothing_real_and_use_the_fixture_as_if_it_were(
    real: Real, arguments: tuple[str, ...]
) -> None:
    found, output = real.run("case_isolation.py", *arguments)
    assert set(found.values()) == {"passed"}, output
    assert len(found) > 20
    real.check_that_nothing_was_touched()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], str]]:
    with serving() as server:
        real = Real(server, tmp_path_factory.mktemp("tools"))
        yield real.run("case_tools.py")
        real.check_that_nothing_was_touched()


ROWS = re.findall(r"^\| \[([\w-]+)\]", (ROOT / "docs" / "testing.md").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("tool", ROWS)
def test_beside_other_tools_it_does_what_the_table_says(tools: tuple[dict[str, str], str], tool: str) -> None:
    found, output = tools
    name = f"test_{tool.lower().replace('-', '_')}"
    mine = {case: outcome for case, outcome in found.items() if case.startswith(name)}
    assert mine, output
    assert set(mine.values()) == {"passed"}, output


def test_the_table_has_a_row_for_each_tool() -> None:
    assert ROWS == ["freezegun", "time-machine", "responses", "requests-mock", "vcr", "pytest-socket"]


@pytest.mark.parametrize("tool", ["vcr", "responses", "requests_mock"])
def test_a_tool_takes_nothing_of_ours_also_where_it_is_there_before_our_first_call(real: Real, tool: str) -> None:
    found, output = real.run("case_tools.py", "-k", f"test_{tool}")
    assert found == {f"test_{tool}": "passed"}, output


@pytest.mark.parametrize("page", ["README.md", "docs/testing.md"])
def test_the_tests_that_the_pages_show_pass_as_written(real: Real, tmp_path: Path, page: str) -> None:
    [shown] = re.findall(r"```python\n((?:(?!```).)*fake_lotus\).*?)```", (ROOT / page).read_text(), re.DOTALL)
    written = tmp_path / "case_shown.py"
    written.write_text(shown)
    found, output = real.run(str(written))
    assert set(found.values()) == {"passed"}, output
    real.check_that_nothing_was_touched()


def test_with_the_option_off_the_applications_settings_stand(real: Real) -> None:
    shown = real.folder / "case_real.py"
    shown.write_text(
        "import lotus_durable as lotus\n"
        "def test_the_real_server():\n"
        "    lotus.track_event(customer_id='c1', event_name='x')\n"
        "    assert lotus.drain(20).complete\n"
        "    lotus.shutdown()\n"
    )
    found, output = real.run(str(shown), "-o", "lotus_isolation=false", LOTUS_FLUSHER="external")
    assert set(found.values()) == {"passed"}, output
    assert real.server.event_count == 1
    assert real.queue.is_dir()


def test_a_project_whose_tests_need_no_temporary_directory_runs_where_none_can_be_made(real: Real) -> None:
    shown = real.folder / "case_plain.py"
    shown.write_text("def test_plain():\n    pass\n")
    found, output = real.run(str(shown), "--basetemp=/proc/nowhere")
    assert found == {"test_plain": "passed"}, output


def test_a_run_of_tests_leaves_no_variable_and_no_directory_behind(real: Real) -> None:
    _, output = real.run("case_isolation.py", "-k", "fixture_gets")
    assert "2 passed" in output, output
    assert not list((real.folder / "temp").glob("lotus-*"))
