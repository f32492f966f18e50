from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lotus_durable.descriptors import open_numbers
from lotus_durable.operate.segment_file import NewSegments
from lotus_durable.queue import journal
from lotus_durable.queue.consumer import Consumer
from lotus_durable.queue.directory import QueueDirectory, released_name
from lotus_durable.queue.format import HEADER_SIZE, Header
from lotus_durable.queue.identity import NO_KEY
from lotus_durable.queue.protocol import Settlement

from .consuming import consuming, counts, deliver, deliver_all, read_pass, stored
from .faults import exit_status, in_child, refusing
from .segments import KEY, Reports, append, number_of, open_appender, record, write_segment
from .waiting import wait_until


def test_events_come_in_the_order_of_each_segment_with_the_key_of_their_writer(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, *range(200))
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer, limit=7)
        assert output.numbers == list(range(200))
        assert output.keys == {KEY}
        assert read_pass(consumer).records == []


def test_events_that_were_not_settled_come_again_in_a_new_consumer_and_settled_ones_do_not(
    directory: QueueDirectory, reports: Reports
) -> None:
    append(open_appender(directory, reports), *range(10))
    with consuming(directory, reports) as consumer:
        first = consumer.read(4)
        assert first is not None
        consumer.settle(Settlement({first.source: first.positions[-1]}, delivered=4))
        assert consumer.read(6) is not None
    with consuming(directory, reports) as consumer:
        assert read_pass(consumer).numbers == [4, 5, 6, 7, 8, 9]


def test_the_first_consumer_finds_no_books_and_the_next_ones_do(directory: QueueDirectory, reports: Reports) -> None:
    with consuming(directory, reports) as consumer:
        assert consumer.is_new
    with consuming(directory, reports) as consumer:
        assert not consumer.is_new


def test_every_event_is_counted_where_it_is(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports)
    append(appender, *range(6))
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records[:2], dead=output.records[2:3]))
        append(appender, 6, 7)
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.pending) == (8, 3, 2)
        assert (found.parked, found.dead_lettered) == (2, 1)
        parked = consumer.page("parked", 0, 10)
        assert [number_of(event.record) for event in parked] == [0, 1]
        consumer.settle(Settlement(delivered=1, dead=[stored(parked[1].record)], resolved=parked))
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.parked, found.dead_lettered) == (8, 4, 0, 2)


def test_parked_events_are_given_a_page_at_a_time_and_in_order(directory: QueueDirectory, reports: Reports) -> None:
    append(open_appender(directory, reports), *range(5))
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.settle(output.settlement(parked=output.records))
        first = consumer.page("parked", 0, 3)
        second = consumer.page("parked", first[-1].id, 3)
        assert [number_of(event.record) for event in [*first, *second]] == [0, 1, 2, 3, 4]
        assert consumer.last_parked() == second[-1].id


def test_has_pending_says_whether_there_is_something_to_read(directory: QueueDirectory, reports: Reports) -> None:
    appender = open_appender(directory, reports)
    with consuming(directory, reports) as consumer:
        assert not consumer.has_pending()
        append(appender, 0)
        assert consumer.has_pending()
        deliver(consumer)
        assert not consumer.has_pending()
        append(appender, 1)
        assert consumer.has_pending()


def test_what_is_learned_is_known_to_the_next_flusher(directory: QueueDirectory, reports: Reports) -> None:
    with consuming(directory, reports) as consumer:
        assert consumer.learned("host") is None
        consumer.learn("host", "https://one")
        consumer.learn("host", "https://two")
    with consuming(directory, reports) as consumer:
        assert consumer.learned("host") == "https://two"


def test_ids_that_were_delivered_are_known_to_the_next_flusher(directory: QueueDirectory, reports: Reports) -> None:
    append(open_appender(directory, reports), *range(3))
    with consuming(directory, reports) as consumer:
        consumer.settle(read_pass(consumer).settlement(ids=["a", "b", "ü"]))
        assert consumer.was_delivered(["a", "x", "ü"]) == {"a", "ü"}
    with consuming(directory, reports) as consumer:
        assert consumer.was_delivered(["a", "b", "x"]) == {"a", "b"}


# Retiring


def test_a_segment_is_deleted_when_it_is_settled_and_its_writer_is_gone(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0, 1)
    with consuming(directory, reports) as consumer:
        deliver_all(consumer)
        assert directory.segments(), "its writer lives"
        appender.close()
        read_pass(consumer)
        consumer.retire()
        assert directory.segments() == []
        assert counts(directory, consumer).delivered == 2
        assert consumer.progress().cursor == {}


def test_a_flusher_with_nothing_to_read_notices_that_a_writer_is_gone(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0, 1)
    with consuming(directory, reports) as consumer:
        deliver_all(consumer)
        assert not consumer.has_pending()
        appender.close()
        consumer.retire()
        assert read_pass(consumer).records == []
        consumer.retire()
        assert directory.segments() == []


def test_a_segment_that_is_not_settled_stays(directory: QueueDirectory, reports: Reports) -> None:
    write_segment(directory, [record(0)]).seal()
    with consuming(directory, reports) as consumer:
        read_pass(consumer)
        consumer.retire()
        assert len(directory.segments()) == 1


def test_segments_that_never_held_an_event_are_deleted(directory: QueueDirectory, reports: Reports) -> None:
    write_segment(directory, []).seal()
    torn = write_segment(directory, [record(0)])
    torn.seal()
    os.truncate(torn.path, 60)  # in the middle of the first frame
    (Path(directory.journal) / "1-2-c1000000.seg").write_bytes(b"")
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []
        assert directory.segments() == []
        assert counts(directory, consumer).accepted == 0
    assert reports == []


def test_nothing_is_deleted_while_the_settlement_cannot_be_synced(directory: QueueDirectory, reports: Reports) -> None:
    write_segment(directory, [record(0)]).seal()
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        with refusing("fdatasync", errno.EIO, where="books.db-wal"), refusing("fsync", errno.EIO, where="books.db"):
            consumer.retire()
            assert len(directory.segments()) == 1
        consumer.retire()
        assert directory.segments() == []
        assert counts(directory, consumer).delivered == 1


def test_books_whose_sync_has_failed_are_written_anew_before_anything_is_deleted(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(0)]).seal()
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        before = Path(directory.books).stat().st_ino
        with refusing("fdatasync", errno.EIO, where="books.db-wal", times=1):
            consumer.retire()
        assert directory.segments() == []
        assert Path(directory.books).stat().st_ino != before
        assert counts(directory, consumer).delivered == 1
    assert any("could not be synced" in text for text in reports.texts())


def test_what_cannot_be_deleted_is_deleted_later_and_never_sent_again(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(0)]).seal()
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        with refusing("unlink", errno.EACCES, where=".seg"):
            consumer.retire()
        assert read_pass(consumer).records == []
        consumer.retire()
        assert directory.segments() == []
        assert counts(directory, consumer).accepted == 1


def test_a_segment_that_somebody_appended_to_after_its_end_was_seen_is_read_again(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(0), record(1)])
    writer.seal()
    whole = Path(writer.path).read_bytes()
    os.truncate(writer.path, len(whole) - 10)
    with consuming(directory, reports) as consumer:
        assert deliver(consumer) == [0]
        Path(writer.path).write_bytes(whole)  # restored from a backup, say
        consumer.retire()
        assert deliver_all(consumer) == [1]
        assert directory.segments() == []


def test_a_large_segment_that_is_settled_is_let_go_and_its_writer_goes_on_in_another(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_LARGE", 1024)
    monkeypatch.setattr(journal, "_SMALL", 1024)
    appender = open_appender(directory, reports)
    append(appender, *range(50))
    [name] = directory.segments()
    with consuming(directory, reports) as consumer:
        assert deliver(consumer) == list(range(50))
        consumer.retire()
        assert directory.segments() == [released_name(name)]
        appender.check()
        append(appender, 50)
        assert deliver_all(consumer) == [50], "what was carried over is not sent twice"
        assert name not in directory.segments()
        assert released_name(name) not in directory.segments()
        assert counts(directory, consumer).accepted == 51
    assert reports == []


def test_thousands_of_small_segments_are_delivered_and_retired(memory_path: Path, reports: Reports) -> None:
    directory = QueueDirectory(memory_path / "queue")
    directory.prepare()
    writer = write_segment(directory, [record(0)])
    writer.seal()
    content = Path(writer.path).read_bytes()
    Path(writer.path).unlink()
    count = 5_000
    listed = 0
    for number in range(count):
        segment_id = number.to_bytes(16, "big")
        _copy_with_id(directory, content, segment_id, number)
    real = os.listdir

    def listing(path: os.PathLike[str] | str) -> list[str]:
        nonlocal listed
        listed += 1
        return real(path)

    with pytest.MonkeyPatch.context() as patch, consuming(directory, reports) as consumer:
        patch.setattr(os, "listdir", listing)
        delivered = 0
        while True:
            through, records = {}, 0
            while records < 500 and (chunk := consumer.read(64)) is not None:
                through[chunk.source] = chunk.positions[-1]
                records += len(chunk.records)
            if not records:
                break
            consumer.settle(Settlement(through, delivered=records))
            consumer.retire()
            delivered += records
        consumer.retire()
        assert delivered == count
        assert directory.segments() == []
        assert counts(directory, consumer).accepted == count
        assert listed < 20, "the directory is not listed for each chunk"


def _copy_with_id(directory: QueueDirectory, content: bytes, segment_id: bytes, number: int) -> None:
    """Write a segment of one event without a writer: as fast as it goes."""
    marker = content[12:16]
    header = Header(marker, 1, number, segment_id, KEY).encode()
    path = Path(directory.journal) / f"{number:020d}-1-{marker.hex()}.seg"
    path.write_bytes(header + content[HEADER_SIZE:])


def test_a_segment_that_lost_its_header_to_a_power_cut_is_known_by_its_name_and_read_on_from_its_cursor(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(number) for number in range(6)])
    with consuming(directory, reports) as consumer:
        first = consumer.read(4)
        assert first is not None
        consumer.settle(Settlement({first.source: first.positions[-1]}, delivered=4))
    writer.seal()
    path = Path(writer.path)
    path.write_bytes(bytes(HEADER_SIZE) + path.read_bytes()[HEADER_SIZE:])
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [4, 5]
        assert counts(directory, consumer).accepted == 6
        assert directory.segments() == []


def test_a_child_that_keeps_the_descriptor_delays_nothing_once_the_parent_has_sealed(
    directory: QueueDirectory, reports: Reports
) -> None:
    appender = open_appender(directory, reports)
    append(appender, 0)
    child = in_child(signal.pause)
    appender.close()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0]
        assert directory.segments() == []
    os.kill(child, signal.SIGKILL)
    exit_status(child)


def test_a_child_that_keeps_the_descriptor_of_a_killed_parent_delays_only_the_deletion(
    directory: QueueDirectory, reports: Reports
) -> None:
    """A fork that ran no hooks, and then the parent is killed: the lock lives on in the child."""
    reading, writing = os.pipe()

    def parent() -> None:
        append(open_appender(directory, reports), 0)
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.write(writing, b"%d" % pid)
        signal.pause()

    pid = in_child(parent)
    child = int(os.read(reading, 20))
    os.kill(pid, signal.SIGKILL)
    exit_status(pid)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0]
        assert len(directory.segments()) == 1
        os.kill(child, signal.SIGKILL)

        def is_gone() -> bool:
            read_pass(consumer)
            consumer.retire()
            return directory.segments() == []

        wait_until(is_gone)
        assert counts(directory, consumer).accepted == 1
    os.close(reading)
    os.close(writing)


# What is odd


def test_odd_entries_in_the_journal_are_named_once_and_hide_nothing(
    directory: QueueDirectory, reports: Reports
) -> None:
    (Path(directory.journal) / "0-directory.seg").mkdir()
    os.mkfifo(Path(directory.journal) / "0-fifo.seg")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.fspath(Path(directory.journal) / "0-socket.seg"))
        (Path(directory.journal) / "0-loop.seg").symlink_to("0-loop.seg")
        append(open_appender(directory, reports), 0, 1)
        with consuming(directory, reports) as consumer:
            assert deliver(consumer) == [0, 1]
            assert deliver(consumer) == []
            assert not consumer.has_pending()
    texts = reports.texts()
    assert len(texts) == 4
    for name in ("directory", "fifo", "socket", "loop"):
        assert sum(name in text for text in texts) == 1


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_what_is_odd_among_the_segments_that_are_being_created_is_named_and_hinders_nothing(
    directory: QueueDirectory, reports: Reports, make: Callable[[str], None]
) -> None:
    make(f"{directory.journal}/odd.new")
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [1]
        assert directory.segments() == []
        assert consumer.left_alone() == (0, None)
    [told] = reports.texts()
    assert told.startswith("journal/odd.new is left alone: ")


def test_a_segment_in_another_ones_place_that_cannot_be_read_now_is_no_leftover_and_published_later(
    directory: QueueDirectory, reports: Reports
) -> None:
    with NewSegments(directory) as new:
        new.add(NO_KEY, record(1))
        with consuming(directory, reports) as consumer:
            consumer.settle(Settlement(cursors=new.finish()))
        [unfinished] = Path(directory.journal).iterdir()
        os.link(unfinished, spare := Path(directory.root, "spare"))
    os.rename(spare, unfinished)  # as if it had been killed before it published it
    os.utime(unfinished, (0, 0))
    with refusing("pread", errno.EIO, where=".new", times=1), consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []
        events, why = consumer.left_alone()
        assert events == 1
        assert f"journal/{unfinished.name}: " in str(why), "a drain is not complete"
    assert any(text.startswith(f"journal/{unfinished.name} is left alone") for text in reports.texts())
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [1]
        assert consumer.left_alone() == (0, None)


def test_a_segment_that_cannot_be_read_is_named_once_and_read_when_it_can_be(
    directory: QueueDirectory, reports: Reports
) -> None:
    bad = write_segment(directory, [record(0)])
    bad.seal()
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        with refusing("open", errno.EIO, where=bad.name):
            assert deliver(consumer) == [1]
            assert deliver(consumer) == []
        assert len(reports) == 1
        assert deliver(consumer) == [0]


def test_a_segment_whose_pages_cannot_be_read_hides_no_other(directory: QueueDirectory, reports: Reports) -> None:
    bad = write_segment(directory, [record(0)])
    bad.seal()
    write_segment(directory, [record(1)]).seal()
    with consuming(directory, reports) as consumer:
        with refusing("pread", errno.EIO, where=bad.name):
            assert deliver(consumer) == [1]
        assert deliver(consumer) == [0]


def test_a_segment_of_a_later_format_is_left_alone_told_and_never_counted_as_done(
    directory: QueueDirectory, reports: Reports
) -> None:
    from zlib import crc32

    writer = write_segment(directory, [record(0)])
    writer.seal()
    content = bytearray(Path(writer.path).read_bytes())
    content[8:10] = (99).to_bytes(2, "little")
    content[52:56] = crc32(content[:52]).to_bytes(4, "little")
    Path(writer.path).write_bytes(content)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []
        assert Path(writer.path).exists()
        assert not consumer.has_pending()
        found = counts(directory, consumer)
        assert (found.accepted, found.pending, found.delivered) == (1, 1, 0)
        events, why = consumer.left_alone()
        assert (events, "version 99" in str(why)) == (1, True)
    assert len(reports) == 1


def test_damage_is_a_dead_letter_and_its_bytes_are_kept(directory: QueueDirectory, reports: Reports) -> None:
    writer = write_segment(directory, [record(number) for number in range(3)])
    writer.seal()
    content = bytearray(Path(writer.path).read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    Path(writer.path).write_bytes(content)
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        assert output.numbers == [0, 2]
        consumer.settle(output.settlement())
        consumer.retire()
        assert directory.segments() == []
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.dead_lettered) == (3, 2, 1)
    [kept] = Path(directory.quarantine).iterdir()
    assert kept.read_bytes() in bytes(content)
    assert len(reports) == 1


def test_damage_is_kept_aside_also_where_somebody_has_removed_the_quarantine(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(number) for number in range(3)])
    writer.seal()
    content = bytearray(Path(writer.path).read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path(writer.path).write_bytes(content)
    with consuming(directory, reports) as consumer:
        os.rmdir(directory.quarantine)
        assert deliver(consumer) == [0, 2]
    [kept] = Path(directory.quarantine).iterdir()
    assert kept.read_bytes() in bytes(content)
    assert Path(directory.quarantine).stat().st_mode & 0o777 == 0o700


def test_damage_that_cannot_be_kept_aside_waits_and_hides_nothing(directory: QueueDirectory, reports: Reports) -> None:
    writer = write_segment(directory, [record(number) for number in range(3)])
    writer.seal()
    content = bytearray(Path(writer.path).read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path(writer.path).write_bytes(content)
    write_segment(directory, [record(9)]).seal()
    with consuming(directory, reports) as consumer:
        with refusing("open", errno.ENOSPC, where="quarantine"):
            assert deliver(consumer) == [0, 9]
        output = read_pass(consumer)
        assert output.numbers == [2]
        assert len(output.damages) == 1


def test_a_segment_deleted_in_the_middle_of_a_pass_is_told_and_hides_no_other(
    directory: QueueDirectory, reports: Reports
) -> None:
    paths = [write_segment(directory, [record(number)]).path for number in range(3)]
    with consuming(directory, reports) as consumer:
        first = consumer.read(1)
        assert first is not None
        os.unlink(paths[1])
        assert read_pass(consumer).numbers == [2]
    [report] = reports.texts()
    assert f"journal/{os.path.basename(paths[1])} was deleted or moved away" in report


def test_a_segment_renamed_by_hand_is_the_same_segment(directory: QueueDirectory, reports: Reports) -> None:
    writer = write_segment(directory, [record(0), record(1)])
    writer.seal()
    with consuming(directory, reports) as consumer:
        first = consumer.read(1)
        assert first is not None
        consumer.settle(Settlement({first.source: first.positions[-1]}, delivered=1))
        read_pass(consumer)
    Path(writer.path).rename(Path(writer.path).with_name("moved.seg"))
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [1]
        assert directory.segments() == []
        assert counts(directory, consumer).accepted == 2


def test_a_segment_that_is_there_twice_is_delivered_once(directory: QueueDirectory, reports: Reports) -> None:
    writer = write_segment(directory, [record(0), record(1)])
    writer.seal()
    Path(writer.path).with_name("copy.seg").write_bytes(Path(writer.path).read_bytes())
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1]
        assert directory.segments() == []
        assert counts(directory, consumer).accepted == 2


def test_another_segment_under_a_known_name_is_read_from_its_beginning(
    directory: QueueDirectory, reports: Reports
) -> None:
    first = write_segment(directory, [record(0)])
    with consuming(directory, reports) as consumer:
        assert deliver(consumer) == [0]
        second = write_segment(directory, [record(1), record(2)])
        second.seal()
        Path(second.path).rename(first.path)
        assert deliver_all(consumer) == [1, 2]


def test_a_segment_that_was_settled_and_deleted_is_not_sent_again_when_it_comes_back(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(0), record(1)])
    writer.seal()
    content = Path(writer.path).read_bytes()
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == [0, 1]
    Path(writer.path).write_bytes(content)  # from a backup, or by a power cut
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []
        assert directory.segments() == []
        assert counts(directory, consumer).accepted == 2


def test_segments_that_were_moved_away_are_not_counted_twice_when_they_come_back(
    directory: QueueDirectory, reports: Reports, tmp_path: Path
) -> None:
    writer = write_segment(directory, [record(0), record(1)])
    writer.seal()
    with consuming(directory, reports) as consumer:
        first = consumer.read(1)
        assert first is not None
        consumer.settle(Settlement({first.source: first.positions[-1]}, delivered=1))
    away = tmp_path / "away.seg"
    Path(writer.path).rename(away)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []
        assert counts(directory, consumer).accepted == 1
        away.rename(writer.path)
        assert deliver_all(consumer) == [1]
        assert counts(directory, consumer).accepted == 2


def test_old_leftovers_of_a_crash_are_removed_and_young_ones_are_not(
    directory: QueueDirectory, reports: Reports
) -> None:
    old, young = Path(directory.journal) / "1-old.new", Path(directory.journal) / "2-young.new"
    temporary = Path(directory.root) / "heartbeat.1-2.tmp"
    for path in (old, young, temporary):
        path.write_bytes(b"")
    before = time.time() - 120
    for path in (old, temporary):
        os.utime(path, (before, before))
    with consuming(directory, reports) as consumer:
        assert deliver(consumer) == []
    assert [path.exists() for path in (old, young, temporary)] == [False, True, False]


def test_a_consumer_whose_directory_cannot_be_read_says_so(directory: QueueDirectory, reports: Reports) -> None:
    with (
        consuming(directory, reports) as consumer,
        refusing("listdir", errno.EIO),
        pytest.raises(OSError, match="Input/output"),
    ):
        consumer.read(1)
    assert reports == [], "it is raised"


def test_a_consumer_that_cannot_be_opened_keeps_no_descriptor(directory: QueueDirectory, reports: Reports) -> None:
    before = open_numbers()
    with refusing("listdir", errno.EIO, where="journal"), pytest.raises(OSError, match="Input/output error"):
        Consumer(directory, reports)
    assert open_numbers() == before


def test_a_settlement_that_comes_behind_a_later_one_moves_no_cursor_back(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(number) for number in range(3)]).seal()
    with consuming(directory, reports) as consumer:
        chunk = consumer.read(10)
        assert chunk is not None
        consumer.settle(Settlement({chunk.source: chunk.positions[-1]}, delivered=3))
        consumer.settle(Settlement({chunk.source: chunk.positions[0]}))
        found = counts(directory, consumer)
        assert (found.accepted, found.delivered, found.pending) == (3, 3, 0)
    with consuming(directory, reports) as consumer:
        assert deliver_all(consumer) == []


def test_a_deleted_segment_stays_in_the_books_until_a_power_cut_cannot_bring_it_back(
    directory: QueueDirectory, reports: Reports
) -> None:
    write_segment(directory, [record(0)]).seal()
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        assert read_pass(consumer).records == []
        with refusing("fsync", errno.EIO, where=lambda path: path.endswith("/journal")):
            consumer.retire()
        assert directory.segments() == []
        assert len(consumer.books.known.cursors) == 1
        consumer._journal.forget_deleted(now=True)
        assert len(consumer.books.known.cursors) == 0


def test_segments_of_writers_that_live_are_let_go_when_they_are_settled_and_large_together(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("_SMALL", 100), ("_LARGE", 10_000), ("_ALL_LIVE", 400)):
        monkeypatch.setattr(journal, name, size)
    writers = [write_segment(directory, [record(number, padding=200)]) for number in range(2)]
    names = sorted(writer.name for writer in writers)
    with consuming(directory, reports) as consumer:
        output = read_pass(consumer)
        consumer.retire()
        assert directory.segments() == names, "what is not settled stays"
        consumer.settle(output.settlement())
        consumer.retire()
        assert directory.segments() == [released_name(name) for name in names]
    for writer in writers:
        writer.seal()


def test_a_segment_that_is_being_created_for_long_is_a_leftover_only_when_nobody_holds_it(
    directory: QueueDirectory, reports: Reports
) -> None:
    paths = [Path(directory.journal, name) for name in ("1-1-c1000000.new", "2-2-c1000001.new", "3-3-c1000002.new")]
    for path in paths:
        path.write_bytes(b"")
    for path in paths[:2]:
        os.utime(path, (0, 0))
    with open(paths[0], "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with consuming(directory, reports) as consumer:
            consumer.read(1)
    assert [path.exists() for path in paths] == [True, False, True]


def test_of_segments_that_somebody_took_away_the_newest_are_known_and_none_is_in_the_heartbeat(
    directory: QueueDirectory, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotus_durable.queue.consumer._GONE_KEPT", 2)
    for number in range(4):
        write_segment(directory, [record(number)]).seal()
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        assert len(consumer.progress().cursor) == 4
    names = directory.segments()
    for name in names:
        Path(directory.journal, name).unlink()
    with consuming(directory, reports) as consumer:
        assert read_pass(consumer).records == []
        assert consumer.progress().cursor == {}
        assert sorted(cursor.name for cursor in consumer.books.known.cursors.values()) == names[2:]


def test_books_that_vanish_are_written_back_also_when_nothing_is_to_be_deleted(
    directory: QueueDirectory, reports: Reports
) -> None:
    writer = write_segment(directory, [record(0)])
    with consuming(directory, reports) as consumer:
        deliver(consumer)
        Path(directory.books).unlink()
        consumer.retire()
        assert Path(directory.books).exists()
    assert "were written back" in reports.texts()[0]
    writer.seal()


def test_a_segment_that_vanishes_is_told_unless_all_of_it_was_read(directory: QueueDirectory, reports: Reports) -> None:
    for number in range(2):
        write_segment(directory, [record(number)]).seal()
    first, second = directory.segments()
    with consuming(directory, reports) as consumer:
        chunk = consumer.read(10)
        assert chunk is not None
        Path(directory.journal, second).unlink()
        assert consumer.read(10) is None
        assert [f"journal/{second} was deleted" in text for text in reports.texts()] == [True]
        consumer._journal.begin_pass()
        Path(directory.journal, first).unlink()
        assert consumer._journal.read(10) is None
        assert len(reports) == 1
