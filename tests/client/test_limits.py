"""Real limits of the system, and a clock that is set: events are kept, it is said, and it goes on afterwards."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from tests.rig import Rig, conserved, track
from tests.scripts import lines

_NOBODY = 65534


def test_without_a_descriptor_left_events_wait_in_memory_and_it_goes_on_when_there_are_some(rig: Rig) -> None:
    said = lines(
        """
        import contextlib, logging, resource
        lines = []

        class Keep(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())

        logging.getLogger("lotus_durable").addHandler(Keep())
        client = make()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        say("ids", *track(client, 200))
        say(any("EMFILE" in line for line in lines), sum("takes no writes" in line for line in lines))
        for descriptor in taken:
            os.close(descriptor)
        wait_until(lambda: client.drain(20).complete)
        stats = client.stats()
        say(stats.accepted, stats.delivered, stats.in_memory)
        """,
        rig.queue_dir,
        rig.server.host,
    )
    [ids, trouble, counts] = said
    assert trouble == "True 1"
    assert counts == "200 200 0"
    assert rig.check(ids.split()[1:]).delivered == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user whose processes are counted")
def test_in_a_full_process_table_events_are_kept_it_is_told_and_a_drain_flushes_by_itself(rig: Rig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, _NOBODY, _NOBODY)
        said = lines(
            f"""
            import resource
            from lotus_durable.flusher import look, program
            look.find_interpreter = lambda: sys.executable
            program.import_everything()  # that user may not be able to read it
            told = []
            os.setgroups([])
            os.setgid({_NOBODY})
            os.setuid({_NOBODY})
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 1000))
            client = make(flusher="auto", on_error=lambda error, events: told.append(str(error)))
            track(client, 10)
            say(client.stats().pending, len(told), "no process can be started" in told[0])
            report = client.drain(20)
            say(report.complete, report.delivered)
            """,
            Path(folder) / "queue",
            rig.server.host,
        )
    assert said == ["10 1 True", "True 10"]
    assert rig.server.event_count == 10


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0], ids=["back", "forward"])
def test_a_clock_that_is_set_loses_nothing_and_makes_no_age_negative(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    client = rig.client(segment_bytes=1 << 16)
    ids = track(client, 5, properties={"x": "y" * 10_000})
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + step)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(step * 1e9))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(real()))
    ids += track(client, 20, properties={"x": "y" * 10_000}, time_created=now)  # in segments named by the new time
    stats = client.stats()
    assert stats.pending == 25
    assert stats.oldest_age is not None
    assert stats.oldest_age >= 0
    assert client.drain(20).complete
    stats = rig.check(ids)
    assert stats.delivered == 25
    assert conserved(stats)
