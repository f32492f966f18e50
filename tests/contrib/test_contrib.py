"""The adapters cost nothing where they are not used, and import no framework but their own."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import lotus_durable
from lotus_durable.contrib import django, sqlalchemy


def loaded(code: str) -> list[str]:
    script = f"""
import sys
{code}
names = "lotus_durable.contrib lotus_durable.flusher.life celery django gunicorn requests"
print(*[name for name in names.split() if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return result.stdout.split()


def test_the_help_of_both_adapters_shows_the_arguments_of_track_event() -> None:
    tracking = inspect.signature(lotus_durable.track_event).parameters
    for module in (django, sqlalchemy):
        shown = inspect.signature(module.track_on_commit).parameters
        assert {name: each for name, each in shown.items() if name in tracking} == dict(tracking)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import lotus_durable; lotus_durable.Client", []),
        ("import lotus_durable.cli", []),
        ("import lotus_durable.contrib", ["lotus_durable.contrib"]),
    ],
)
def test_what_is_not_used_is_not_imported(code: str, names: list[str]) -> None:
    assert loaded(code) == names
