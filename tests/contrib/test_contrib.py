"""The adapters cost nothing where they are not used, and import no framework but their own."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lotus_durable.contrib import gunicorn as settings
from lotus_durable.keeper import RunAs


def loaded(code: str) -> list[str]:
    script = f"""
import sys
{code}
names = "lotus_durable.contrib lotus_durable.keeper lotus_durable.leaving celery django gunicorn requests"
print(*[name for name in names.split() if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return result.stdout.split()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import lotus_durable; lotus_durable.Client", []),
        ("import lotus_durable.cli", []),
        ("import lotus_durable.contrib", ["lotus_durable.contrib"]),
        ("import lotus_durable.contrib.gunicorn", ["lotus_durable.contrib", "lotus_durable.keeper"]),
    ],
)
def test_what_is_not_used_is_not_imported(code: str, names: list[str]) -> None:
    assert loaded(code) == names


def test_gunicorn_s_hooks_keep_one_flusher_as_the_user_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[object, ...]] = []

    class Keeper:
        def __init__(self, _log: object, run_as: object) -> None:
            done.append(("made", run_as))

        def __getattr__(self, name: str) -> Any:
            return lambda: done.append((name,))

    monkeypatch.setattr(settings, "FlusherKeeper", Keeper)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.getegid", lambda: 0)
    for user in (0, 33):
        log = SimpleNamespace(error_log=None)
        server = cast("settings.Arbiter", SimpleNamespace(cfg=SimpleNamespace(uid=user, gid=user), log=log))
        settings.on_reload(server)  # as when the settings come with a reload
        settings.on_reload(server)
        settings.on_exit(server)
        settings.on_exit(server)
        run_as = RunAs(33, 33) if user else None
        assert done == [("made", run_as), ("start",), ("reload",), ("reload",), ("drain",), ("stop",)]
        done.clear()
