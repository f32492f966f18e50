"""``lotus-durable adopt``: a person says that one key has replaced another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lotus_durable import Client
from lotus_durable.testing import FakeLotus

from .conftest import CommandLine

NEW = {"LOTUS_API_KEY": "new-key"}


@pytest.fixture
def fingerprint(command_line: CommandLine, fake_lotus: FakeLotus) -> str:
    """Leave five events under a key that no flusher ever had; what that is shown as."""
    with Client(
        api_key="test-key", host=fake_lotus.host, queue_dir=command_line.queue_dir, flusher="external", exit_timeout=0
    ) as client:
        for _ in range(5):
            client.track_event(customer_id="c", event_name="e")
    fake_lotus.rotate_key("new-key")
    [(found, number)] = command_line.run("adopt", "--json", environment=NEW).json()["waiting"].items()
    assert number == 5
    return str(found)


def test_it_shows_what_waits_for_another_key_and_changes_nothing(
    command_line: CommandLine, fake_lotus: FakeLotus, fingerprint: str
) -> None:
    result = command_line.run("adopt", environment=NEW)
    assert (result.code, result.errors) == (1, "")
    assert result.output == f"{fingerprint}  5  events, of the key with this fingerprint\n"
    assert command_line.run("drain", environment=NEW).code == 1
    assert fake_lotus.event_count == 0


def test_with_yes_they_are_sent_and_so_are_those_that_come_later(
    command_line: CommandLine, fake_lotus: FakeLotus, fingerprint: str
) -> None:
    result = command_line.run("adopt", "--yes", "--key", fingerprint, "--json", environment=NEW)
    assert (result.code, result.errors) == (0, "")
    assert result.json() == {"waiting": {fingerprint: 5}, "adopted": [fingerprint]}
    assert fake_lotus.event_count == 5
    with Client(api_key="test-key", host=fake_lotus.host, queue_dir=command_line.queue_dir, flusher="external") as late:
        late.track_event(customer_id="c", event_name="e")
    assert command_line.run("drain", environment=NEW).code == 0
    assert fake_lotus.event_count == 6
    assert command_line.run("adopt", environment=NEW).output == "no events wait for another API key\n"


def test_events_that_were_appended_through_sqlite_are_shown_too(
    command_line: CommandLine, fake_lotus: FakeLotus, fingerprint: str
) -> None:
    with Client(
        api_key="test-key",
        host=fake_lotus.host,
        queue_dir=command_line.queue_dir,
        flusher="external",
        backend="sqlite",
        exit_timeout=0,
    ) as client:
        client.track_event(customer_id="c", event_name="e")
    assert command_line.run("adopt", "--json", environment=NEW).json()["waiting"] == {fingerprint: 6}


@pytest.mark.usefixtures("fingerprint")
def test_a_flusher_that_lives_takes_it_too(command_line: CommandLine, fake_lotus: FakeLotus) -> None:
    command_line.start("flusher", environment=NEW)
    with Client(
        api_key="new-key", host=fake_lotus.host, queue_dir=command_line.queue_dir, flusher="external"
    ) as client:
        client.track_event(customer_id="c", event_name="e")
        fake_lotus.wait_for(1)
        assert command_line.run("adopt", "--yes", environment=NEW).code == 0
    assert fake_lotus.event_count == 6


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--key", "00ff"], NEW, "no events wait for a key with the fingerprint 00ff"),
        ([], {"LOTUS_API_KEY": ""}, "api_key: it is needed"),
    ],
)
@pytest.mark.usefixtures("fingerprint")
def test_what_it_cannot_do_is_one_line(
    command_line: CommandLine, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    result = command_line.run("adopt", "--yes", *arguments, environment=environment)
    assert result.code == 2
    assert words in result.one_error()


@pytest.mark.usefixtures("fingerprint")
def test_it_adopts_nothing_while_a_flusher_has_another_key(command_line: CommandLine, fake_lotus: FakeLotus) -> None:
    fake_lotus.rotate_key("test-key", keep_old=True)
    command_line.start("flusher")
    fake_lotus.wait_for(5)
    result = command_line.run("adopt", "--yes", environment=NEW)
    assert result.code == 2
    assert "has another API key than this command" in result.one_error()


def test_events_of_another_organisations_key_are_not_sent_even_if_it_is_said_that_this_key_replaced_theirs(
    command_line: CommandLine, fake_lotus_factory: Callable[..., FakeLotus]
) -> None:
    server = fake_lotus_factory("L24")
    theirs = {"LOTUS_HOST": server.host}
    with Client(
        api_key="test-key", host=server.host, queue_dir=command_line.queue_dir, flusher="external", exit_timeout=0
    ) as client:
        client.track_event(customer_id="c", event_name="e")
        assert client.drain(30).complete
        client.track_event(customer_id="c", event_name="e")
    server.rotate_key("new-key", keep_old=True)
    server.accounts.organization_id = "org_other"
    result = command_line.run("adopt", "--yes", environment={**NEW, **theirs})
    assert result.code != 0
    assert "another organisation" in result.errors
    assert server.event_count == 1
