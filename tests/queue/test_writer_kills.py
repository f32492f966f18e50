"""Writers that die at any moment: what they acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.writer import is_abandoned

from .faults import STRIDE, dies_at, exit_status, in_child
from .segments import Reports, append, expire_trust, open_appender, read_journal, writer_of
from .waiting import wait_until

KILLS, POWER_KILLS = 80, 20
AT_ONCE = 4
BASE = 1_000_000
"""The events of writer n are numbered from n * BASE."""


class Notes:
    """Numbers that a process writes down as it goes; they survive its SIGKILL."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> Callable[[int], None]:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def note(number: int) -> None:
            os.write(descriptor, b"%d\n" % number)

        return note

    def exist(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def read(self) -> list[int]:
        """Return the numbers; a killed process may have left half a line."""
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [int(line) for line in whole.split()]


@pytest.mark.parametrize(("power", "kills"), [(False, KILLS), (True, POWER_KILLS)])
def test_writers_killed_at_any_moment_lose_nothing_they_acknowledged(
    memory_path: Path, tmp_path: Path, power: bool, kills: int
) -> None:
    directory = QueueDirectory((tmp_path if power else memory_path) / "queue")
    chance = random.Random(20_221_122)
    notes = [Notes(tmp_path / f"writer-{index}") for index in range(kills)]

    def write(index: int) -> None:
        acknowledge = notes[index].open()
        appender = open_appender(directory, Reports(), power=power, segment_bytes=50_000)
        for number in range(index * BASE, index * BASE + 2000):
            # Some records span pages, where a killed write tears.
            append(appender, number, padding=number % 97 * (100 if number % 5 == 0 else 1))
            acknowledge(number)
        signal.pause()

    for first in range(0, kills, AT_ONCE):
        indices = range(first, min(first + AT_ONCE, kills))
        children = [in_child(lambda index=index: write(index)) for index in indices]  # type: ignore[misc]
        wait_until(lambda indices=indices: all(notes[index].exist() for index in indices))  # type: ignore[misc]
        for child in children:
            time.sleep(chance.uniform(0, 0.002))  # the moment of the kill, not a wait for anything
            os.kill(child, signal.SIGKILL)
            assert exit_status(child) == -signal.SIGKILL

    found = read_journal(directory)  # which finds no damage
    assert len(set(found)) == len(found)
    by_writer = {index: [number for number in found if number // BASE == index] for index in range(kills)}
    acknowledged = 0
    for index, note in enumerate(notes):
        said = note.read()
        acknowledged += len(said)
        # The last event may be in the journal without its writer having lived to say so.
        assert by_writer[index][: len(said)] == said == list(range(index * BASE, index * BASE + len(said)))
        assert len(by_writer[index]) - len(said) <= 1
    assert acknowledged > 10 * kills
    for name in directory.segments():
        with open(Path(directory.journal) / name, "rb") as file:
            assert is_abandoned(file.fileno())


@pytest.mark.parametrize("power", [False, True])
def test_a_writer_that_dies_at_any_step_leaves_what_it_acknowledged(memory_path: Path, power: bool) -> None:
    """Also in the middle of rotating, of carrying over what was deleted, and of leaving what was released."""
    step = 0
    dies = True
    while dies:
        directory = QueueDirectory(memory_path / f"queue-{step}")
        notes = Notes(memory_path / f"notes-{step}")
        notes.path.touch()

        def write(directory: QueueDirectory = directory, notes: Notes = notes) -> None:
            acknowledge = notes.open()
            appender = open_appender(directory, Reports(), power=power, segment_bytes=4096)
            for number in range(12):
                append(appender, number, padding=1000)
                acknowledge(number)
                if number == 5:
                    Path(writer_of(appender).path).unlink()
                    expire_trust(appender)
                elif number == 8:
                    directory.let_go(writer_of(appender).name)
                    expire_trust(appender)
            appender.close()

        dies = dies_at(step, write)
        said = notes.read()
        found = read_journal(directory)
        assert sorted(set(found)) == sorted(found), step
        # A hand deletes one segment after event 5: what was in it is lost if the writer dies before it has noticed.
        missing = set(said) - set(found)
        assert missing <= ({3, 4, 5} if said and said[-1] == 5 else set()), step
        assert len(set(found) - set(said)) <= 1, step
        step += STRIDE
    assert said == list(range(12))
    assert step > 30
