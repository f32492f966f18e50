"""Spawned children, which do not have what their parent has set; and two applications with one default directory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lotus_durable as lotus
from lotus_durable.config import this_application
from tests.rig import Rig
from tests.scripts import ROOT, environment

PROGRAM = """
import multiprocessing, sys
import lotus_durable as lotus
{at_the_top}

def track():
    for _ in range(3):
        lotus.track_event(customer_id="c1", event_name="x")

if __name__ == "__main__":
    lotus.api_key, lotus.host, lotus.queue_dir, lotus.flusher = "test-key", sys.argv[2], sys.argv[3], "external"
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=track) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(max(child.exitcode for child in children))
"""


def run(rig: Rig, tmp_path: Path, method: str, at_the_top: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(at_the_top=at_the_top))
    return subprocess.run(
        [sys.executable, str(program), method, rig.server.host, str(rig.queue_dir)],
        env=environment(XDG_STATE_HOME=str(tmp_path / "state"), LOTUS_EXIT_TIMEOUT="0", **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_without_the_key_of_its_parent_says_where_events_are_why_and_what_to_do_once(
    rig: Rig, tmp_path: Path, method: str
) -> None:
    said = run(rig, tmp_path, method).stderr.splitlines()
    assert len(said) == 1, said
    assert "no API key is set" in said[0]
    assert f"events wait in {tmp_path}/state/lotus_durable. " in said[0]
    assert 'under `if __name__ == "__main__":` does not reach it' in said[0]
    assert "environment, or call lotus_durable.configure(...) in each child" in said[0]


def test_a_forked_child_has_what_its_parent_has_set(rig: Rig, tmp_path: Path) -> None:
    assert run(rig, tmp_path, "fork").stderr == ""
    assert len(rig.pending_ids()) == 6


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_the_environment_reaches_children(rig: Rig, tmp_path: Path, method: str) -> None:
    settings = {"API_KEY": "test-key", "HOST": rig.server.host, "QUEUE_DIR": str(rig.queue_dir), "FLUSHER": "external"}
    said = run(rig, tmp_path, method, **{f"LOTUS_{name}": value for name, value in settings.items()}).stderr
    assert said == ""
    assert len(rig.pending_ids()) == 6


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_send_false_at_the_top_of_the_module_reaches_children(rig: Rig, tmp_path: Path, method: str) -> None:
    at_the_top = "lotus.configure(send=False)"
    assert run(rig, tmp_path, method, at_the_top, LOTUS_API_KEY="test-key").stderr == ""
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_pages_pool_delivers_with_each_method(rig: Rig, tmp_path: Path, method: str) -> None:
    page = (ROOT / "docs" / "children.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert '"forkserver"' in example
    program = tmp_path / "program.py"
    program.write_text(
        example.replace('"forkserver"', repr(method))
        .replace("/var/lib/app/lotus", str(rig.queue_dir))
        .replace("YOUR API KEY", "test-key")
    )
    settings = {"LOTUS_HOST": rig.server.host, "LOTUS_FLUSHER": "external"}
    subprocess.run([sys.executable, "-W", "error", str(program)], env=environment(**settings), check=True, timeout=60)
    assert sorted(event["properties"]["number"] for event in rig.server.events) == [0, 1, 2, 3]


# configure


def test_configure_sets_all_or_nothing() -> None:
    try:
        lotus.configure(send=False, max_event_bytes=300)
        with pytest.raises(lotus.InvalidEvent, match="over max_event_bytes"):
            lotus.track_event(customer_id="c1", event_name="x", properties={"text": "x" * 400})
        for wrong, said in (
            (("max_event_bytes", -1), "a whole number from 256"),
            (("apikey", "x"), "did you mean api_key?"),
        ):
            with pytest.raises(lotus.ConfigurationError, match=re.escape(said)):
                lotus.configure(**{"host": "https://lotus.example", wrong[0]: wrong[1]})  # type: ignore[arg-type]
        assert (lotus.send, lotus.max_event_bytes, lotus.host) == (False, 300, None)
    finally:
        lotus.configure(send=None, max_event_bytes=None)  # type: ignore[arg-type]
    assert lotus.send is None


# Two applications


def track_as(application: Path, state: Path, **more: str) -> str:
    """Track in an application of its own: a script in a directory, by a Python without a virtual environment."""
    application.mkdir(exist_ok=True)
    script = application / "app.py"
    script.write_text(
        "import sys\n"
        "sys.prefix = sys.base_prefix\n"
        "import lotus_durable as lotus\n"
        "lotus.track_event(customer_id='c1', event_name='x')\n"
        "lotus.track_event(customer_id='c1', event_name='x')\n"
    )
    settings = {"XDG_STATE_HOME": str(state), "LOTUS_API_KEY": "test-key", "LOTUS_FLUSHER": "external", **more}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(**settings, LOTUS_EXIT_TIMEOUT="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


def test_two_applications_of_one_user_do_not_share_the_default_directory_unnoticed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    one, other = tmp_path / "one", tmp_path / "öther"
    assert track_as(one, state) == ""
    assert track_as(one, state) == ""
    [said] = track_as(other, state).splitlines()
    assert said.startswith(
        f"{state}/lotus_durable is the default queue directory, and another application of this user"
    )
    assert f"({one}; this one is {tmp_path}/\\xf6ther)" in said
    assert "give each a queue_dir of its own" in said


def test_a_directory_that_was_chosen_may_be_shared_by_whoever_chooses_it(tmp_path: Path) -> None:
    chosen = {"LOTUS_QUEUE_DIR": str(tmp_path / "queue")}
    assert track_as(tmp_path / "one", tmp_path, **chosen) == ""
    assert track_as(tmp_path / "other", tmp_path, **chosen) == ""


def test_an_application_is_its_virtual_environment_or_where_its_program_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/srv/app/venv")
    assert this_application() == "/srv/app/venv"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", "/srv/app/manage.py", raising=False)
    assert this_application() == "/srv/app"
    monkeypatch.setattr(main, "__file__", f"{sys.base_prefix}/bin/gunicorn")
    assert this_application() == str(Path.cwd())
