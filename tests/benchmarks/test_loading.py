from __future__ import annotations

import venv
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.load import Specification
from benchmarks.loading import load
from benchmarks.server import Server
from benchmarks.subjects import DURABLE, DURABLE_BESIDE, DURABLE_EXTERNAL, FLOOR, LOTUS_PYTHON, Subject
from benchmarks.tracking import accepted_in

_ANOTHER_BUILD = """
class Client:
    def __init__(self, **options):
        pass

    def track_event(self, *, customer_id, event_name, properties):
        with open({file!r}, "a") as file:
            print(event_name, file=file)
"""


@pytest.mark.parametrize("subject", [FLOOR, DURABLE_EXTERNAL])
def test_each_call_of_each_thread_of_each_process_is_timed(bench: Bench, sink: Server, subject: Subject) -> None:
    with bench.folder() as folder:
        loaded = bench.load_once(subject, sink, folder, processes=2, threads=2, calls=25, cold=True)
    assert [len(thread) for thread in loaded.threads] == [25] * 4
    assert all(call.due <= call.begun <= call.ended for call in loaded.calls)


def test_a_paced_load_keeps_its_schedule(bench: Bench, sink: Server) -> None:
    with bench.folder() as folder:
        loaded = bench.load_once(FLOOR, sink, folder, calls=20, rate=1_000.0)
    [calls] = loaded.threads
    assert [calls[number].due - calls[0].due for number in range(20)] == [number * 1_000_000 for number in range(20)]
    assert all(call.begun >= call.due for call in calls)


def test_a_load_ends_when_its_time_is_up(bench: Bench, sink: Server) -> None:
    with bench.folder() as folder:
        loaded = bench.load_once(FLOOR, sink, folder, calls=1_000_000, rate=100.0, seconds=0.05)
    assert len(loaded.calls) < 1_000


def test_an_event_that_is_refused_is_no_call(bench: Bench, sink: Server) -> None:
    subject = Subject("picky", "every second event", "tests.benchmarks.picky:opened", "nothing")
    for options in ({"calls": 10}, {"calls": 10, "rate": 1_000.0}):
        with bench.folder() as folder:
            loaded = bench.load_once(subject, sink, folder, cold=True, **options)
        assert (len(loaded.calls), loaded.refused) == (5, 5)
        assert all(call.due <= call.begun <= call.ended for call in loaded.calls)


def test_what_was_accepted_is_noted_event_by_event(bench: Bench, sink: Server) -> None:
    subject = Subject("picky", "every second event", "tests.benchmarks.picky:opened", "nothing")
    with bench.folder() as folder:
        bench.load_once(subject, sink, folder, cold=True, calls=6, accepted=str(folder / "accepted"))
        assert accepted_in(folder) == {0, 2, 4}


def test_another_build_is_measured_by_its_own_package(bench: Bench, sink: Server, tmp_path: Path) -> None:
    """Its interpreter finds the benchmarks here, and its package where its environment has it."""
    python = _environment_with_another_build(tmp_path)
    with bench.folder() as folder:
        loaded = replace(bench, beside=python).load_once(DURABLE_BESIDE, sink, folder, calls=3, cold=True)
    assert len(loaded.calls) == 3
    assert (tmp_path / "tracked").read_text(encoding="utf-8").splitlines() == ["api_call"] * 3


def _environment_with_another_build(folder: Path) -> Path:
    venv.create(folder / "environment", symlinks=True)
    [packages] = (folder / "environment").glob("lib/python*/site-packages")
    (packages / "lotus_durable.py").write_text(_ANOTHER_BUILD.format(file=str(folder / "tracked")), encoding="utf-8")
    return folder / "environment" / "bin" / "python"


def test_what_is_tracked_arrives_at_the_sink(bench: Bench, sink: Server) -> None:
    with bench.folder() as folder:
        bench.load_once(DURABLE, sink, folder, calls=50, warm_up_seconds=2.0, once_ready=lambda: sink.wait_for(50, 10))


def test_a_subject_that_fails_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    broken = Specification("benchmarks.subjects.floor:no_such_function", {}, "", str(tmp_path), str(tmp_path / "c"), 1)
    with pytest.raises(RuntimeError, match="no_such_function"):
        load([broken])


def test_a_rival_that_is_not_asked_for_is_left_out_and_mentioned(bench: Bench) -> None:
    able, notes = bench.available([FLOOR, LOTUS_PYTHON])
    assert able == [FLOOR]
    assert notes == ["skipped lotus-python track_event: rivals are not asked for"]
