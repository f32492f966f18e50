"""What programs rely on, pinned: names, signatures, fields. A change here is a change for every user."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import lotus_durable as lotus
from lotus_durable import errors
from lotus_durable.client import Client
from lotus_durable.config import Config, describe
from lotus_durable.contrib import django, sqlalchemy
from lotus_durable.option_types import Options

TRACKING = {
    "Client": "(**options: 'Unpack[Options]') -> 'None'",
    "check_event": (
        "(*, customer_id: 'str', event_name: 'str', properties: 'Mapping[str, object] | None' = None, "
        "time_created: 'datetime | str | None' = None, idempotency_id: 'str | None' = None) -> 'dict[str, Any]'"
    ),
    "configure": "(**settings: 'Unpack[Options]') -> 'None'",
    "drain": "(timeout: 'float | None' = None, *, through: 'bool' = False) -> 'DrainReport'",
    "flush": "(timeout: 'float | None' = None) -> 'bool'",
    "join": "(timeout: 'float | None' = None) -> 'None'",
    "shutdown": "(timeout: 'float | None' = None) -> 'None'",
    "stats": "() -> 'QueueStats'",
    "track_event": (
        "(*, customer_id: 'str', event_name: 'str', properties: 'Mapping[str, object] | None' = None, "
        "time_created: 'datetime | str | None' = None, idempotency_id: 'str | None' = None) -> 'str'"
    ),
}
FIELDS = {
    "DrainReport": [
        "complete", "delivered", "handed_over", "parked", "dead_lettered", "remaining", "elapsed", "reason",
    ],
    "QueueStats": [
        "accepted", "delivered", "handed_over", "pending", "parked", "dead_lettered", "discarded", "in_memory",
        "pending_bytes", "oldest_age", "flusher",
    ],
    "FlusherStats": [
        "pid", "hostname", "kind", "version", "state", "reason", "since", "waits_until", "beat_age", "alive",
        "last_delivery", "rate", "last_error", "last_error_at", "began",
    ],
}  # fmt: skip
ERRORS = {
    "AttentionNeeded": "DeliveryError",
    "ConfigurationError": "LotusError, ValueError",
    "DeliveryBlocked": "DeliveryError",
    "DeliveryError": "LotusError",
    "DeliveryResumed": "DeliveryError",
    "DiskRefused": "LotusError",
    "EventRefused": "DeliveryError",
    "InvalidEvent": "LotusError, ValueError",
    "LotusError": "Exception",
    "QueueDamaged": "LotusError",
    "QueueDirectoryError": "ConfigurationError",
    "QueueFull": "LotusError",
    "QueueInUse": "LotusError",
}
SETTINGS = {
    "api_key", "host", "queue_dir", "debug", "on_error", "send", "on_invalid", "sync_mode", "durability",
    "sync_interval", "flush_interval", "max_batch_events", "max_event_bytes", "max_queue_bytes", "upload_concurrency",
    "timeout", "backend", "flusher", "exit_timeout", "keep_delivered", "api_key_file",
    "api_version", "call_timeout", "relay_url", "max_events_per_second",
}  # fmt: skip


@pytest.mark.parametrize("name", TRACKING)
def test_the_calls_that_track_keep_their_names_and_signatures(name: str) -> None:
    assert name in lotus.__all__
    assert str(inspect.signature(getattr(lotus, name))) == TRACKING[name]


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_returned_keeps_its_fields_and_is_frozen(name: str) -> None:
    assert name in lotus.__all__
    kind = getattr(lotus, name)
    assert list(kind.__match_args__) == FIELDS[name]
    value = kind(**dict.fromkeys(FIELDS[name]))
    with pytest.raises(AttributeError):
        setattr(value, FIELDS[name][0], 1)
    assert "__slots__" in vars(kind)


@pytest.mark.parametrize("name", ERRORS)
def test_the_errors_keep_their_names_and_what_they_derive_from(name: str) -> None:
    assert name in lotus.__all__
    assert ", ".join(base.__name__ for base in getattr(lotus, name).__bases__) == ERRORS[name]


def test_every_error_of_ours_is_a_lotus_error() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(classes) > 10
    assert all(issubclass(each, lotus.LotusError) for each in classes)


def test_settings_options_and_configuration_have_the_same_names_and_each_has_a_help_text() -> None:
    configured = set(Config._fields) - {"constants"}
    assert configured == SETTINGS == {name for name, _, about in describe() if about}
    assert set(Options.__annotations__) == configured
    assert set(lotus.__annotations__) == configured
    assert all(getattr(lotus, name) is None for name in configured)


def test_no_module_of_the_package_takes_the_place_of_a_setting_or_a_function() -> None:
    """Importing it would put the module there; ``flusher`` is imported before its setting is made."""
    modules = {each.name for each in pkgutil.iter_modules(lotus.__path__)}
    assert len(modules) > 10
    assert modules & (set(lotus.__annotations__) | set(lotus.__all__)) == {"flusher"}
    script = """
import pkgutil, importlib
import lotus_durable as lotus
names = [each.name for each in pkgutil.walk_packages(lotus.__path__, "lotus_durable.") if ".flusher" in each.name]
for name in names:
    if not name.endswith(".boot"):
        importlib.import_module(name)
assert len(names) > 10
assert lotus.flusher is None, lotus.flusher
lotus.flusher = "external"
from lotus_durable.flusher import life
assert lotus.flusher == "external"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(lotus.__all__) == sorted(set(lotus.__all__))
    for name in lotus.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(lotus, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(lotus, "nonsense")  # noqa: B009  # mypy would refuse it


def test_dir_shows_what_users_call_and_the_settings_and_nothing_else() -> None:
    assert dir(lotus) == sorted({*lotus.__all__, *SETTINGS})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("apikey", "no setting apikey; did you mean api_key?"),
        ("Host", "no setting Host; did you mean host?"),
        ("queuedir", "no setting queuedir; did you mean queue_dir?"),
        ("sync_intervall", "no setting sync_intervall; did you mean sync_interval?"),
        ("nonsense", "no setting nonsense"),
        ("flush_at", "no setting flush_at; max_batch_events does it here"),
        ("max_queue_size", "no setting max_queue_size; max_queue_bytes does it here, in bytes"),
        ("max_retries", "no setting max_retries; none is needed here: an event is tried"),
        ("thread", "no setting thread; none is needed here: no thread runs"),
        ("gzip", "no setting gzip; none is needed here"),
        ("strict", "no setting strict; none is needed here"),
        ("default_client", "no setting default_client; make a lotus_durable.Client"),
    ],
)
def test_a_setting_there_is_none_of_is_refused_and_the_right_one_named(name: str, said: str) -> None:
    options: dict[str, Any] = {name: "x"}
    with pytest.raises(lotus.ConfigurationError, match=rf"^lotus_durable\.{name}: {re.escape(said)}"):
        setattr(lotus, name, "x")
    assert not hasattr(lotus, name)
    with pytest.raises(lotus.ConfigurationError, match=rf"^argument {name}: {re.escape(said)}"):
        lotus.Client(**options)


_PROGRAM = "import lotus_durable as lotus\nlotus.api_key = 'x'\nlotus.apikey = 'x'\nlotus.host = 3\nlotus.ping()\n"


def test_a_setting_there_is_none_of_fails_in_mypy(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--config-file=", str(program)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    errors = [line.partition("program.py:")[2] for line in result.stdout.splitlines() if " error: " in line]
    assert [error.partition(":")[0] for error in errors] == ["3", "4"], result.stdout + result.stderr
    assert 'has no attribute "apikey"' in errors[0]


def test_a_setting_there_is_none_of_fails_in_pyright(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    found = _pyright(tmp_path, str(program))["generalDiagnostics"]
    # The wrong value it takes: findings/pyright-takes-any-value-for-a-modules-attribute.sh
    assert [each["range"]["start"]["line"] + 1 for each in found] == [3], found
    assert '"apikey" is not a known attribute of module' in found[0]["message"]


def test_the_types_are_complete_for_who_checks_his_program_with_pyright(tmp_path: Path) -> None:
    found = _pyright(tmp_path, "--verifytypes", "lotus_durable", "--ignoreexternal")["typeCompleteness"]
    unclear = [each["name"] for each in found["symbols"] if each["isExported"] and not each["isTypeKnown"]]
    assert found["completenessScore"] >= 0.98, unclear


def _pyright(folder: Path, *arguments: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(Path(lotus.__path__[0]).parent)}
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *arguments]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=110
    )
    return json.loads(result.stdout)


def test_a_test_may_put_something_in_the_place_of_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("track_event", "create_customer"):
        monkeypatch.setattr(lotus, name, lambda **_: "answered")
        assert getattr(lotus, name)(customer_id="c") == "answered"
    monkeypatch.undo()
    assert lotus.create_customer.__name__ == "create_customer"


def test_the_docstring_of_each_function_has_its_arguments_units_and_errors() -> None:
    for name in lotus.__all__:
        function = getattr(lotus, name)
        if not inspect.isfunction(function):
            continue
        text = inspect.getdoc(function) or ""
        arguments = text.partition("Args:\n")[2].partition("\n\n")[0]
        documented = re.findall(r"^    (\w+): ", arguments, flags=re.MULTILINE)
        assert documented == list(inspect.signature(function).parameters), name
        assert "Raises:" in text or "raises nothing" in text, name
        assert "timeout" not in documented or "timeout: seconds" in arguments, name


def test_each_function_is_the_method_of_that_name() -> None:
    functions = [name for name in lotus.__all__ if inspect.isfunction(getattr(lotus, name)) and name != "configure"]
    assert set(functions) >= set(TRACKING) - {"Client", "configure"}
    for name in functions:
        of_module = list(inspect.signature(getattr(lotus, name)).parameters.values())
        of_client = list(inspect.signature(getattr(Client, name)).parameters.values())[1:]
        assert [(each.name, each.kind, each.default) for each in of_module] == [
            (each.name, each.kind, each.default) for each in of_client
        ], name


def test_the_help_of_both_adapters_for_transactions_shows_the_arguments_of_track_event() -> None:
    tracking = inspect.signature(lotus.track_event).parameters
    for module in (django, sqlalchemy):
        shown = inspect.signature(module.track_on_commit).parameters
        assert {name: each for name, each in shown.items() if name in tracking} == dict(tracking)


def test_each_function_can_be_given_to_another_process() -> None:
    for name in lotus.__all__:
        function = getattr(lotus, name)
        if inspect.isfunction(function):
            assert pickle.loads(pickle.dumps(function)) is function, name


def test_the_signatures_can_be_resolved_by_tools() -> None:
    import lotus_durable.client as module

    hints = get_type_hints(Client.track_event, vars(module))
    assert hints["return"] is str
