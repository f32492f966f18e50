"""``check``, ``repair``, ``export``, ``import``, ``backup`` and ``erase``, from outside."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from lotus_durable import Client
from lotus_durable.operate import erasing

from .conftest import PROGRAM, CommandLine, Refuse, Track
from .terminal import Terminal, needs_tmux

NAMES = ("accepted", "delivered", "pending", "parked", "dead_lettered", "discarded")


def numbers(command_line: CommandLine, *arguments: str) -> dict[str, int]:
    """Return the counts that are not 0, after making sure that they add up."""
    status = command_line.run("status", "--json", *arguments).json()
    found = {name: status[name] for name in NAMES}
    assert found["accepted"] == sum(found[name] for name in NAMES[1:])
    return {name: number for name, number in found.items() if number}


def damage(command_line: CommandLine, id_: str) -> Path:
    [path] = Path(command_line.directory.journal).glob("*.seg")
    path.write_bytes(path.read_bytes().replace(id_.encode(), b"x" * len(id_)))
    return path


def test_check_says_that_nothing_is_damaged(command_line: CommandLine, track: Track) -> None:
    track(7)
    result = command_line.run("check")
    assert (result.code, result.errors) == (0, "")
    assert result.output.startswith("nothing is damaged: 1 file, 7 events and ")
    found = command_line.run("check", "--json").json()
    assert (found["damaged"], found["events"], found["findings"]) == (0, 7, [])


def test_check_names_damage_and_repair_mends_it_when_told_to(command_line: CommandLine, track: Track) -> None:
    ids = track(7)
    path = damage(command_line, ids[3])
    result = command_line.run("check")
    assert result.code == 3
    assert f"journal/{path.name}, byte " in result.output
    assert "lost: 1 event" in result.output
    plan = command_line.run("repair")
    assert plan.code == 3
    assert "1 place damaged; nothing was changed: --apply does it" in plan.output
    assert command_line.run("repair", "--json").json()["done"] == []
    done = command_line.run("repair", "--apply", "--json")
    assert done.code == 0
    assert done.json()["damaged"] == 0
    assert "the bytes are kept in" in done.json()["done"][0]
    assert numbers(command_line) == {"accepted": 7, "pending": 6, "dead_lettered": 1}
    assert command_line.run("repair").output == "nothing is damaged\n"


def test_a_copied_queue_is_checked_and_exported_without_its_flusher_or_key(
    command_line: CommandLine, track: Track, tmp_path: Path
) -> None:
    ids = track(5)
    damage(command_line, ids[1])
    copy = tmp_path / "copy"
    (copy / "journal").mkdir(parents=True, mode=0o700)
    copy.chmod(0o700)
    for path in Path(command_line.directory.journal).iterdir():
        (copy / "journal" / path.name).write_bytes(path.read_bytes())
    bare = {"LOTUS_API_KEY": "", "LOTUS_HOST": "", "LOTUS_QUEUE_DIR": ""}
    assert command_line.run("check", "--queue-dir", str(copy), environment=bare).code == 3
    result = command_line.run("export", "--queue-dir", str(copy), environment=bare)
    events = [json.loads(line) for line in result.output.splitlines()]
    assert [event.get("idempotency_id") for event in events] == [ids[0], None, *ids[2:]]
    assert events[1]["reason"] == "damaged"


def test_export_takes_everything_or_what_is_meant(command_line: CommandLine, refuse: Refuse, track: Track) -> None:
    dead = refuse(2)
    mine = track(3)
    lines = [json.loads(line) for line in command_line.run("export").output.splitlines()]
    assert {(event["state"], event["idempotency_id"]) for event in lines} == {
        *(("pending", each) for each in mine), *(("dead_letter", each) for each in dead),
    }  # fmt: skip
    only = command_line.run("export", "--state", "pending", "--id", mine[1]).output.splitlines()
    assert [json.loads(line)["idempotency_id"] for line in only] == [mine[1]]
    file = command_line.queue_dir.parent / "all.jsonl"
    assert command_line.run("export", "--output", str(file), "--json").json() == {"written": 5, "damaged": []}


def test_what_was_exported_can_be_imported_elsewhere(command_line: CommandLine, track: Track, tmp_path: Path) -> None:
    ids = track(4)
    file = tmp_path / "all.jsonl"
    command_line.run("export", "--output", str(file))
    other = str(tmp_path / "other")
    result = command_line.run("import", str(file), "--queue-dir", other)
    assert result.output == f"4 events imported into {other}\n"
    assert numbers(command_line, "--queue-dir", other) == {"accepted": 4, "pending": 4}
    again = command_line.run("import", str(file), "--queue-dir", other)
    assert "this file was imported before" in again.output
    exported = command_line.run("export", "--queue-dir", other).output.splitlines()
    assert [json.loads(line)["idempotency_id"] for line in exported] == ids


def test_what_was_delivered_and_kept_is_exported_and_not_imported_by_mistake(
    command_line: CommandLine, track: Track, tmp_path: Path
) -> None:
    with Client(queue_dir=command_line.queue_dir, flusher="external") as client:
        for _ in range(3):
            client.track_event(customer_id="c1", event_name="api_call")
    assert command_line.run("drain", environment={"LOTUS_KEEP_DELIVERED": "3600"}).code == 0
    [mine] = track(1)
    file = tmp_path / "all.jsonl"
    assert command_line.run("export", "--output", str(file)).output == f"4 events written to {file}\n"
    other = ["--queue-dir", str(tmp_path / "other")]
    result = command_line.run("import", str(file), *other)
    assert result.output == f"1 event imported into {tmp_path}/other; 3 events left out: delivered before\n"
    [line] = command_line.run("export", *other).output.splitlines()
    assert json.loads(line)["idempotency_id"] == mine
    again = command_line.run("import", str(file), "--again", "--json", *other).json()
    assert (again["events"], again["delivered"]) == (4, 0)
    assert numbers(command_line, *other) == {"accepted": 5, "pending": 5}


def test_an_export_takes_the_place_of_a_file_and_of_nothing_else(
    command_line: CommandLine, track: Track, tmp_path: Path
) -> None:
    track(2)
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    assert command_line.run("export", "--output", str(pipe)).code == 0
    output, _ = reader.communicate(timeout=60)
    assert len(output.splitlines()) == 2
    assert pipe.is_fifo()
    link.symlink_to(file)
    assert command_line.run("export", "--output", str(link)).code == 0
    assert link.is_symlink()
    assert file.read_text() == output
    assert len(command_line.run_process("export", "--output", "/dev/stdout").output.splitlines()) == 3
    full = command_line.run("export", "--output", "/dev/full")
    assert (full.code, full.one_error()) == (2, "lotus-durable export: /dev/full: No space left on device")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    missing = command_line.run("export", "--output", str(tmp_path / "none" / "file"))
    assert missing.code == 2
    assert missing.one_error() == f"lotus-durable export: {tmp_path}/none/file: No such file or directory"


def test_what_a_killed_process_of_the_same_number_has_left_is_in_nobodys_way(
    command_line: CommandLine, track: Track, tmp_path: Path
) -> None:
    track(2)
    # The numbers of processes come again, in a container at once.
    Path(f"{tmp_path}/all.jsonl.{os.getpid()}.tmp").touch()
    Path(f"{tmp_path}/copy.{os.getpid()}.tmp").mkdir()
    assert command_line.run("export", "--output", f"{tmp_path}/all.jsonl").code == 0
    assert command_line.run("backup", f"{tmp_path}/copy").code == 0
    assert stat.S_IMODE(os.stat(tmp_path / "all.jsonl").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "copy").st_mode) == 0o700


def test_import_names_the_lines_that_are_no_events(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"customer_id": "c1", "event_name": "a"}\nnonsense\n')
    result = command_line.run("import", str(file), "--json")
    assert result.code == 2
    assert "line 2: it is no JSON" in result.json()["error"]
    assert "--skip-invalid takes the others" in result.one_error()
    skipping = command_line.run("import", str(file), "--skip-invalid", "--json")
    assert skipping.json()["events"] == 1
    assert "line 2: it is no JSON" in skipping.one_error()
    assert command_line.run("import", str(tmp_path / "none.jsonl")).code == 2
    file.write_text('{"data": "AAEC", "state": "quarantined", "reason": "damaged"}\n')
    assert "line 1: it is bytes that an export could not read" in command_line.run("import", str(file)).one_error()


@needs_tmux
def test_an_import_and_an_export_show_how_far_they_are(
    command_line: CommandLine, tmp_path: Path, terminal: Terminal
) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text('{"customer_id": "c1", "event_name": "call"}\n' * 100_000)
    terminal.type(*PROGRAM, "import", str(file))
    screen = terminal.wait_for("100,000 events imported")
    assert "read 4.4 MB\n" in screen
    assert numbers(command_line) == {"accepted": 100_000, "pending": 100_000}
    terminal.enter("clear")
    terminal.type(*PROGRAM, "export", "--output", str(file))
    assert "written 100,000\n" in terminal.wait_for("100,000 events written")


def test_a_backup_can_be_looked_at_and_used(command_line: CommandLine, track: Track, tmp_path: Path) -> None:
    track(2)
    assert command_line.run("drain").code == 0
    track(6)
    result = command_line.run("backup", str(tmp_path / "copy"), "--json")
    assert result.json()["files"] >= 3
    assert numbers(command_line, "--queue-dir", str(tmp_path / "copy")) == {
        "accepted": 8, "delivered": 2, "pending": 6,
    }  # fmt: skip
    assert command_line.run("status", "--json", "--queue-dir", str(tmp_path / "copy")).json()["flusher"] is None
    assert command_line.run("drain", "--queue-dir", str(tmp_path / "copy")).code == 0
    again = command_line.run("backup", str(tmp_path / "copy"))
    assert again.code == 2
    assert "exists" in again.one_error()
    missing = command_line.run("backup", str(tmp_path / "none" / "copy"))
    assert missing.one_error() == f"lotus-durable backup: {tmp_path}/none/copy: No such file or directory"
    within = command_line.run("backup", str(command_line.queue_dir / "copy"))
    assert within.code == 2
    assert "a backup is made elsewhere" in within.one_error()


def test_a_customer_is_erased_after_asking(command_line: CommandLine, refuse: Refuse, track: Track) -> None:
    refuse(2, customer_id="c2")
    track(3)
    known = [json.loads(line) for line in command_line.run("export", "--customer", "c2").output.splitlines()]
    assert [(event["customer_id"], event["state"]) for event in known] == [("c2", "dead_letter")] * 2
    asked = command_line.run("erase", "--customer", "c2")
    assert asked.code == 2
    assert "confirm with --yes" in asked.one_error()
    result = command_line.run("erase", "--customer", "c2", "--yes", "--json").json()
    assert (result["pending"], result["dead_letters"]) == (0, 2)
    assert command_line.run("erase", "--customer", "c1", "--yes").output.startswith("erased: 3 pending, ")
    assert numbers(command_line) == {"accepted": 5, "discarded": 5}


def test_an_erasure_that_is_interrupted_says_that_it_is_to_be_run_again(
    command_line: CommandLine, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    track(1)
    monkeypatch.setattr(erasing, "erase_customer", interrupted)
    result = command_line.run("erase", "--customer", "c1", "--yes")
    assert result.code == 130
    assert result.one_error().endswith("interrupted: what was not reached is still there: run it again")


@needs_tmux
def test_a_person_is_asked_before_a_customer_is_erased(
    command_line: CommandLine, track: Track, terminal: Terminal
) -> None:
    track(1)
    terminal.type(*PROGRAM, "erase", "--customer", "c1")
    terminal.wait_for("Erase all events of customer c1, for good? [y/N]")
    terminal.enter("n")
    terminal.wait_for("nothing was erased")
    assert numbers(command_line) == {"accepted": 1, "pending": 1}
