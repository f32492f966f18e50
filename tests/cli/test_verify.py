"""``lotus-durable verify``."""

from __future__ import annotations

from lotus_durable.testing import FakeLotus

from .conftest import CommandLine, Track


def test_what_the_server_lost_is_named_and_put_back(
    command_line: CommandLine, track: Track, fake_lotus: FakeLotus
) -> None:
    ids = track(5)
    keep = {"LOTUS_KEEP_DELIVERED": "3600"}
    assert command_line.run("drain", environment=keep).code == 0
    asked = ["verify", "--ingestion", "0"]
    assert command_line.run(*asked).output == "the server has 5 of 5 events\n"
    assert command_line.run("verify").output == "the server has 0 of 0 events; 5 are too young to ask\n"
    fake_lotus._state.database.forget(ids[:2])
    result = command_line.run(*asked, "--hours", "1")
    assert result.code == 1
    assert f"unknown to the server: {ids[0]}\n" in result.output
    assert result.output.endswith("the server has 3 of 5 events\n")
    found = command_line.run(*asked, "--resend", "--json")
    assert found.code == 1
    assert found.json() == {"asked": 5, "unknown": ids[:2], "too_young": 0, "resent": 2}
    assert command_line.run("status", "--json").json()["pending"] == 2
    assert command_line.run("drain", environment=keep).code == 0
    assert command_line.run(*asked).code == 0


def test_a_key_is_needed_and_its_absence_is_said(command_line: CommandLine, track: Track) -> None:
    track(1)
    result = command_line.run("verify", "--json", environment={"LOTUS_API_KEY": ""})
    assert result.code == 2
    assert "api_key: it is needed" in result.json()["error"]
