"""The heartbeat: whatever it has to say, it can be read, and it never runs into what stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, HeartbeatFile, News, Program, read_beat, read_progress


def beat(news: list[News], reason: str | None = None) -> Beat:
    program = Program("0.1.0", "/srv/" + "x" * 400, b"settings", b"keykeyke", b"surround", 1.0)
    return Beat(1, 2, 3, 4, "host", "boot", "auto", program, 5, 6.0, "idle", reason=reason, answer=reason, news=news)


@pytest.fixture
def directory(tmp_path: Path) -> QueueDirectory:
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    return directory


@pytest.mark.parametrize("letter", ["x", "\N{PILE OF POO}"])
@pytest.mark.parametrize("count", [1, 6, 60])
def test_news_of_the_longest_ids_leave_the_beat_and_the_progress_readable(
    directory: QueueDirectory, letter: str, count: int
) -> None:
    event = {"idempotency_id": letter * 255, "customer_id": letter * 50, "event_name": letter * 200}
    news = [News(number, "EventRefused", letter * 400, [event] * 3) for number in range(count)]
    file = HeartbeatFile(directory)
    file.write(beat([]), {"settled": 1})
    file.write(beat(news, letter * 1000), None)
    file.close()
    read = read_beat(directory)
    assert read is not None
    assert list(read.news)[-1] == news[-1]
    assert read_progress(directory) == {"settled": 1}
