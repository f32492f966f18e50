"""The Django application, in projects of its own: each run is a ``manage.py`` in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lotus_durable.testing import FakeLotus

MANAGE = """
import sys
from django.conf import settings
settings.configure(INSTALLED_APPS=["lotus_durable.contrib.django"], SECRET_KEY="x", USE_TZ=True, **{settings})
import django
django.setup()
if sys.argv[1] == "track":
    import lotus_durable as lotus
    lotus.track_event(customer_id="c1", event_name="api_call")
    print(lotus.stats().pending)
else:
    from django.core.management import execute_from_command_line
    execute_from_command_line(["manage.py", *sys.argv[1:]])
"""

Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def manage(tmp_path: Path) -> Manage:
    """Run ``manage.py`` with settings."""

    def run(settings: Mapping[str, object], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LOTUS_", "DJANGO_"))}
        return subprocess.run(
            [sys.executable, "-c", MANAGE.replace("{settings}", repr(settings)), *arguments],
            env={**inherited, "XDG_STATE_HOME": str(tmp_path / "state"), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_what_is_tracked_is_drained_with_the_options_of_the_project(
    manage: Manage, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    settings = {
        "LOTUS": {"API_KEY": fake_lotus.api_key, "host": fake_lotus.host, "FLUSHER": "external"},
        "LOTUS_QUEUE_DIR": str(tmp_path / "queue"),
    }
    wrong = {"LOTUS_HOST": "http://127.0.0.1:1", "LOTUS_API_KEY": "of-the-environment"}
    assert manage(settings, "track", **wrong).stdout == "1\n"
    assert fake_lotus.event_count == 0
    assert (tmp_path / "queue").is_dir()
    drained = manage(settings, "lotus_drain", "--timeout", "30", **wrong)
    assert drained.returncode == 0, drained.stderr
    assert drained.stdout.startswith("1 delivered, 0 pending in ")
    assert fake_lotus.event_count == 1


def test_a_drain_that_is_not_complete_says_why_and_exits_with_1(
    manage: Manage, fake_lotus: FakeLotus, tmp_path: Path
) -> None:
    settings = {"LOTUS": {"api_key": "wrong", "host": fake_lotus.host, "queue_dir": tmp_path.joinpath("q").as_posix()}}
    settings["LOTUS"]["flusher"] = "external"
    manage(settings, "track")
    drained = manage(settings, "lotus_drain", "--timeout", "30")
    assert drained.returncode == 1
    assert "not complete, 1 events pending: the server refuses the API key" in drained.stderr
    assert "Traceback" not in drained.stderr


WRONG: list[tuple[dict[str, object], str]] = [
    ({"LOTUS": {"HOST": "lotus.example"}}, "lotus_durable.E001: lotus_durable.host: a URL such as"),
    ({"LOTUS_TIMEOUT": "soon"}, "lotus_durable.E001: lotus_durable.timeout: a number is needed"),
    ({"LOTUS": {"API_KEY_FILE": "/nowhere/key"}}, "the key file /nowhere/key cannot be read"),
    ({"LOTUS": {"API_KEY": "x", "QUEUE_DIR": "/tmp"}}, "lotus_durable.E001: queue_dir: /tmp can be written"),
    ({"LOTUS": {"API_KEY": "x", "QUEUE_DIR": "/proc/version/q"}}, "lotus_durable.E002: queue_dir"),
    ({}, "lotus_durable.W001: No API key is set"),
    ({"LOTUS": {"API_KEY": "x"}}, "nothing"),
    ({"LOTUS": {"SEND": False}}, "nothing"),
]


def test_the_check_says_what_is_wrong_with_a_configuration(manage: Manage) -> None:
    code = f"""
from django.test import override_settings
from lotus_durable.contrib.django.options import check
for project in {[settings for settings, _ in WRONG]!r}:
    with override_settings(**project):
        found = check()
        print(" ".join(f"{{each.id}}: {{each.msg}}" for each in found) or "nothing")
"""
    result = manage({}, "shell", "--verbosity=0", "--command", code)
    assert result.returncode == 0, result.stderr
    for line, (settings, said) in zip(result.stdout.splitlines(), WRONG, strict=True):
        assert said in line, settings


def test_a_wrong_configuration_keeps_the_project_from_being_served_and_is_no_traceback(manage: Manage) -> None:
    checked = manage({"LOTUS": {"HOST": "lotus.example"}}, "check")
    assert checked.returncode == 1
    assert "(lotus_durable.E001) lotus_durable.host: a URL such as" in checked.stderr
    assert "Traceback" not in checked.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"APIKEY": "x"}, "LOTUS: no setting apikey; did you mean api_key?"),
        (["api_key"], "LOTUS: a dictionary is needed (it is list)"),
        ({"ON_ERROR": "nowhere.at.all"}, "No module named 'nowhere'"),
    ],
)
def test_options_that_cannot_be_understood_end_the_start_for_events_would_go_elsewhere(
    manage: Manage, options: object, said: str
) -> None:
    tracked = manage({"LOTUS": options}, "track")
    assert (tracked.returncode, tracked.stdout) == (1, "")
    assert said in tracked.stderr.splitlines()[-1]


def test_on_error_may_be_a_dotted_path(manage: Manage) -> None:
    settings: dict[str, object] = {"LOTUS": {"API_KEY": "x", "ON_ERROR": "builtins.print"}}
    assert manage(settings, "check").returncode == 0


def test_of_more_events_than_are_counted_a_purge_means_the_first_and_none_that_comes_while_it_is_asked_about(
    manage: Manage, tmp_path: Path
) -> None:
    code = """
import lotus_durable as lotus
from django.http import QueryDict
from lotus_durable.contrib.django import pages
pages._MOST_COUNTED = 2
for number in range(3):
    lotus.track_event(customer_id="", event_name="x")
lotus.drain(20)
events = lotus.settings.client().dead_letters()
asked = pages.purge(events, QueryDict("which=all"))
print(asked["number"], dict(asked["fields"])["up_to"], [each.row for each in events])
"""
    options = {"QUEUE_DIR": str(tmp_path / "q"), "API_KEY": "k", "ON_INVALID": "report", "FLUSHER": "external"}
    result = manage({"LOTUS": {**options, "HOST": "http://127.0.0.1:9"}}, "shell", "--verbosity=0", "--command", code)
    assert result.stdout == "the first 2 events 2 [1, 2, 3]\n", result.stderr
