"""What a look decides: whether to start a flusher, to end one, to ask one to make way, and what to tell."""

from __future__ import annotations

import ast
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lotus_durable import Client
from lotus_durable.clock import boot_id, since_boot
from lotus_durable.config import Config
from lotus_durable.flusher import hung, locks, reporting, starting
from lotus_durable.flusher import look as look_module
from lotus_durable.flusher.lock import FlusherLock
from lotus_durable.flusher.look import Look
from lotus_durable.flusher.reporting import TroubleReporter
from lotus_durable.flusher.starting import Notes, Start, Starting
from lotus_durable.queue import appender
from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import Beat, HeartbeatFile
from lotus_durable.queue.identity import fingerprint
from lotus_durable.queue.stats import FlusherState, QueueStats

from .test_decisions import THEIRS, beat

REPORT_AFTER = 30.0


class Scene:
    """A host with one process that looks, and whatever flusher a test says there is."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.directory = QueueDirectory(root)
        self.directory.prepare()
        self.now = 5000.0
        self.held: list[bool | None] = [False]
        """What each question tells; the last one goes on."""
        self._beat: Beat | None = None
        self.is_young = True
        self.is_stopped = False
        self.why_it_lives_on: str | None = None
        self.started: list[int] = []
        self.settings: dict[str, Any] = {}
        self.refusal: Exception | None = None
        self.ended: list[int] = []
        self.told: list[str] = []
        real = locks.is_held

        def is_held(path: str, start: int = 0) -> bool | None:
            if path != self.directory.flusher_lock:
                return real(path, start)
            return self.held.pop(0) if len(self.held) > 1 else self.held[0]

        patch.setattr(locks, "is_held", is_held)
        for module in (look_module, starting, hung, reporting):
            patch.setattr(module, "since_boot", lambda: self.now)
        patch.setattr("lotus_durable.queue.heartbeat.since_boot", lambda: self.now)
        patch.setattr(look_module, "find_interpreter", lambda: "/usr/bin/python3")
        patch.setattr(look_module, "start_flusher", self._start)
        patch.setattr(hung, "reap", lambda: None)
        patch.setattr(hung, "is_young", lambda _: self.is_young)
        patch.setattr(hung, "is_stopped", lambda of: of.pid == beat().pid and self.is_stopped)
        patch.setattr(hung, "end", self._end)

    @property
    def beat(self) -> Beat | None:
        """The last one of whoever flushes."""
        return self._beat

    @beat.setter
    def beat(self, beat: Beat) -> None:
        self._beat = beat
        with closing(HeartbeatFile(self.directory)) as heartbeat:
            heartbeat.write(beat, None)

    def look(self, **options: Any) -> Look:
        config = Config(self.directory.root, **{"api_key": "key", **options})
        return Look(self.directory, config, lambda error, _: self.told.append(str(error)))

    def flushes(self, **changes: Any) -> None:
        """Have a flusher hold the lock and beat."""
        self.held = [True]
        self.beat = beat(boot=boot_id(), at=self.now, **changes)

    def is_gone(self) -> None:
        """Have the start that is on its way come to an end."""
        self.held = [False]
        while self.started:
            os.close(self.started.pop())

    @property
    def notes(self) -> Notes:
        return Starting(self.directory).read()

    def _start(self, interpreter: str, directory: QueueDirectory, settings: bytes, lock: int) -> None:
        assert directory is self.directory
        assert interpreter == "/usr/bin/python3"
        self.settings = ast.literal_eval(settings.removesuffix(b"\0").decode())
        if self.refusal is not None:
            os.close(lock)
            raise self.refusal
        self.started.append(lock)

    def _end(self, of: Beat) -> str | None:
        self.ended.append(of.pid)
        return self.why_it_lives_on


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path / "queue", monkeypatch)
    yield scene
    scene.is_gone()


# What it costs


def test_where_all_is_well_a_look_after_an_event_takes_five_system_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens one file, and asks nothing about a segment that was checked for the event."""
    monkeypatch.setattr(appender, "_TRUST", 3600.0)  # however busy the machine is
    monkeypatch.setattr(hung, "is_young", lambda _: True)
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    with closing(HeartbeatFile(directory)) as heartbeat:
        lock = FlusherLock(directory)
        assert lock.acquire()
        heartbeat.write(beat(boot=boot_id(), at=since_boot()), None)
        client = Client(api_key="key", queue_dir=directory.root, flusher="external")
        client.track_event(customer_id="customer", event_name="event")
        client._tracker.look_now()  # the first one notes which version tracks here
        client.track_event(customer_id="customer", event_name="event")
        made: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            for module, names in ((os, _SYSTEM_CALLS), (fcntl, ("fcntl", "flock"))):
                for name in names:
                    patch.setattr(module, name, partial(_noted, made, name, getattr(module, name)))
            client._tracker.look_now()
        assert made == ["waitid", "open", "fcntl", "pread", "close"]
        client.shutdown()
        lock.release()


_SYSTEM_CALLS = (
    "open", "close", "read", "pread", "pwrite", "stat", "fstat", "lstat", "statvfs", "scandir", "listdir", "waitid",
    "getpid", "lseek",
)  # fmt: skip


def _noted(made: list[str], name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    made.append(name)
    return call(*arguments, **options)


def test_a_flusher_whose_heartbeat_somebody_has_replaced_is_seen_by_its_lock(tmp_path: Path) -> None:
    directory = QueueDirectory(tmp_path / "queue")
    directory.prepare()
    lock = FlusherLock(directory)
    assert lock.acquire()
    look = Look(directory, Config(directory.root, api_key="key"), lambda *_: None)
    assert look._glance() == (True, None)
    for replace in (os.unlink, lambda path: Path(path).write_bytes(b"no beat")):
        replace(directory.heartbeat)
        assert look._glance() == (True, None)
    lock.release()
    assert look._glance() == (False, None)


def test_where_the_queue_was_removed_nothing_is_made_there_again(scene: Scene) -> None:
    shutil.rmtree(scene.directory.root)
    scene.look().look()
    assert scene.started == []
    assert not os.path.exists(scene.directory.root)


# Starting one


def test_where_nobody_flushes_one_is_started_and_no_second_while_it_is_on_its_way(scene: Scene) -> None:
    first, second = scene.look(), scene.look()
    first.look()
    assert len(scene.started) == 1
    assert second.is_on_its_way()
    second.look()
    assert not second.start()
    assert len(scene.started) == 1
    assert scene.told == []


def test_a_log_level_that_is_a_member_of_an_enum_is_a_number_to_a_flusher(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    class Level(IntEnum):
        FINE = 15

    caplog.set_level(Level.FINE, "lotus_durable")
    scene.look().look()
    assert repr(scene.settings["log_level"]) == "15"


def test_where_somebody_flushes_or_that_cannot_be_told_none_is_started(scene: Scene) -> None:
    look = scene.look()
    answers: list[list[bool | None]] = [[True], [None], [False, True]]
    for held in answers:  # the last: it came to flush since the look began
        scene.held = held
        look.look()
    assert scene.started == []
    scene.held = [False, False, True]  # or since the start began
    look.look()
    assert scene.started == []
    assert not look.is_on_its_way(), "the lock of the start is let go of"
    scene.held = [False]
    look.look()
    assert len(scene.started) == 1


def test_one_that_is_to_make_way_or_was_ended_may_hold_the_lock_still(scene: Scene) -> None:
    scene.held = [True]
    for options in ({"make_way": True}, {"is_ended": True}):
        assert scene.look().start(**options)
        os.close(scene.started.pop())
    assert not scene.look().start()


def test_a_start_that_came_to_nothing_is_told_with_its_last_words_and_made_again_later(scene: Scene) -> None:
    Path(scene.directory.log).write_text("of another one\n", encoding="utf-8")
    look = scene.look()
    look.look()
    with open(scene.directory.log, "a", encoding="utf-8") as log:
        log.write("no module named requests\n")
    scene.is_gone()
    look.look()
    assert scene.started == []
    assert look.cannot_start()
    assert scene.told == [
        "nothing is delivered, 0 events are kept: a flusher cannot be started: no module named requests"
    ]
    assert (scene.notes.failures, scene.notes.has_flushed) == (1, False)
    look.look()
    assert scene.notes.failures == 1, "of one start it is noted once"
    scene.now += 1.0
    assert not look.cannot_start()
    look.look()
    assert len(scene.started) == 1


def test_one_that_ended_in_order_is_followed_at_once_and_one_that_was_killed_in_its_work_only_once(
    scene: Scene,
) -> None:
    look = scene.look()
    look.look()
    scene.is_gone()
    scene.now += 5.0
    scene.beat = beat(boot=boot_id(), at=scene.now, state="ended")
    look.look()
    assert len(scene.started) == 1
    assert (scene.notes.failures, scene.notes.last_known) == (0, scene.now - 5.0)
    for failures in (1, 2):
        scene.is_gone()
        scene.now += 5.0
        scene.beat = beat(boot=boot_id(), at=scene.now)
        look.look()
        assert (scene.notes.failures, scene.notes.has_flushed) == (failures, True)
    assert scene.started == []
    assert "flushers end in the middle of their work" in scene.told[0]
    scene.now += 2.0
    look.look()
    assert len(scene.started) == 1


def test_what_a_start_came_to_is_noted_once_by_processes_that_look_at_once(scene: Scene) -> None:
    look = scene.look()
    look.look()
    scene.is_gone()
    assert [look._note_end(None).failures for _ in range(2)] == [1, 1]


def test_an_end_of_before_the_start_says_nothing_of_it(scene: Scene) -> None:
    scene.beat = beat(boot=boot_id(), at=scene.now - 1.0, state="ended")
    look = scene.look()
    look.look()
    scene.is_gone()
    look.look()
    assert (scene.notes.failures, scene.notes.has_flushed) == (1, False)


@pytest.mark.parametrize(
    ("refusal", "is_told"),
    [(OSError(errno.EAGAIN, "Resource temporarily unavailable"), True), (OSError("mine"), False)],
)
def test_a_process_that_cannot_be_started_is_a_failure_and_a_handlers_error_is_its_own(
    scene: Scene, refusal: OSError, is_told: bool
) -> None:
    look = scene.look()
    scene.refusal = refusal
    if is_told:
        assert not look.start()
        assert scene.notes.failures == 1
        assert "a flusher cannot be started: no process can be started: Resource temp" in scene.told[0]
    else:
        with pytest.raises(OSError, match="mine"):
            look.start()
        assert scene.notes.failures == 0


@pytest.mark.parametrize("where", ["stat", "pwrite"])
def test_a_handler_that_raises_before_a_start_leaves_its_lock_to_nobody(scene: Scene, where: str) -> None:
    look = scene.look()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.MonkeyPatch.context() as patch:

        def strike(*_: object, **__: object) -> None:
            patch.undo()
            raise TimeoutError("a time limit of the application's")

        patch.setattr(os, where, strike)
        with pytest.raises(TimeoutError):
            look.start(is_ended=True)
    assert not Starting(scene.directory).is_starting()
    assert not locks.is_held(scene.directory.starting)
    assert len(os.listdir("/proc/self/fd")) == before
    assert look.start()


def test_without_a_key_or_an_interpreter_none_is_started_and_that_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.look(api_key=None).look()
    assert "no API key is set" in scene.told[0]
    monkeypatch.setattr(look_module, "find_interpreter", lambda: None)
    scene.now += 60.0
    scene.look().look()
    assert "no Python interpreter is found" in scene.told[1]
    assert not scene.look().start()
    assert scene.started == []
    monkeypatch.setattr(look_module, "_is_child_of_multiprocessing", lambda: True)
    in_child = str(scene.look(api_key=None).why_none_is_started())
    assert f"events wait in {scene.directory.root}. This is a child process of multiprocessing" in in_child
    assert scene.look(api_key=None, relay_url="amqp://").why_none_is_started() != scene.told[0]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[QueueStats]:
    """What is in the queue: the last one."""
    found = [QueueStats(pending=1, oldest_age=REPORT_AFTER)]
    monkeypatch.setattr(TroubleReporter, "waiting", lambda _: found[-1])
    return found


@pytest.mark.usefixtures("waits")
def test_an_external_flusher_that_is_not_there_is_told_after_a_while_and_forgotten_when_it_comes(scene: Scene) -> None:
    look = scene.look(flusher="external")
    look.look()
    scene.now += REPORT_AFTER - 0.1
    look.look()
    assert scene.told == []
    scene.now += 0.1
    look.look()
    assert len(scene.told) == 1
    assert 'flusher is "external" and nobody flushes' in scene.told[0]
    assert scene.started == []
    scene.flushes()
    look.look()
    assert scene.notes.nobody_since is None
    scene.held = [False]
    scene.now += 100.0
    look.look()
    assert len(scene.told) == 1, "it begins anew"


def test_where_a_queue_is_drained_now_and_then_it_is_told_only_when_an_event_has_waited_for_a_while(
    scene: Scene, waits: list[QueueStats]
) -> None:
    look = scene.look(flusher="external")
    waits.append(QueueStats())
    for _ in range(20):
        scene.now += REPORT_AFTER / 2
        look.look()
    waits.append(QueueStats(pending=1, oldest_age=1.0))
    scene.now += REPORT_AFTER
    look.look()
    waits.append(QueueStats(pending=1, oldest_age=REPORT_AFTER))
    scene.now += REPORT_AFTER - 1.1
    look.look()
    assert scene.told == []
    scene.now += 0.2
    look.look()
    assert len(scene.told) == 1


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("options", [{"flusher": "external"}, {"api_key": None}])
def test_a_process_that_drains_is_not_told_that_nobody_flushes(scene: Scene, options: dict[str, Any]) -> None:
    look = scene.look(**options)
    look.drains = True
    for _ in range(3):
        look.look()
        scene.now += REPORT_AFTER
    assert scene.told == []
    look.drains = False
    look.look()
    scene.now += REPORT_AFTER
    look.look()
    assert len(scene.told) == 1


def test_that_nobody_can_find_out_whether_there_is_a_flusher_is_told_when_it_lasts(scene: Scene) -> None:
    Path(scene.directory.flusher_lock).symlink_to("elsewhere")
    look = scene.look()
    for held in (None, False, None):
        scene.held = [held]
        look.look()
        scene.is_gone()
        scene.now += REPORT_AFTER - 0.1
    scene.held = [None]
    look.look()
    assert scene.told == []
    scene.now += 0.1
    look.look()
    [text] = scene.told
    assert text.startswith("whether there is a flusher cannot be found out, 0 events are kept: ")
    assert "Too many levels of symbolic links" in text
    scene.beat = beat(boot=boot_id(), at=scene.now)
    scene.now += 61.0
    look.look()
    assert len(scene.told) == 1, "one beats"


def test_where_one_beats_none_is_started_though_its_lock_cannot_be_read(scene: Scene) -> None:
    scene.flushes()
    scene.held = [None]
    scene.look().look()
    assert scene.started == []


def test_who_cannot_note_what_it_has_told_tells_it_by_itself_once_a_minute(scene: Scene) -> None:
    Path(scene.directory.starting).symlink_to("elsewhere")
    look = scene.look(api_key=None)
    for _ in range(240):
        look.look()
        scene.now += 0.5
    assert len(scene.told) == 2
    assert "no API key is set" in scene.told[0]


def test_a_log_that_failing_starts_have_made_long_is_begun_anew_unless_a_flusher_has_it_open(scene: Scene) -> None:
    log = Path(scene.directory.log)
    log.write_bytes(b"words\n" * 100_000)
    look = scene.look()
    assert look.start(make_way=True)
    assert scene.notes.start == Start(scene.now, 600_000)
    scene.is_gone()
    assert look.start()
    assert scene.notes.start == Start(scene.now, 0)
    assert not log.exists()
    assert Path(f"{log}.1").stat().st_size == 600_000


# Ending one


def seen_for(scene: Scene, look: Look, seconds: float) -> None:
    """Look twice a second, at the same beat."""
    scene.is_young = False
    for _ in range(int(2 * seconds) + 1):
        look.look()
        scene.now += 0.5


def test_a_flusher_without_a_sign_of_life_is_ended_and_replaced(scene: Scene) -> None:
    look = scene.look()
    scene.flushes()
    seen_for(scene, look, 9.5)
    assert scene.ended == []
    seen_for(scene, look, 1.0)
    assert scene.ended == [1]
    assert len(scene.started) == 1, "though it may hold the lock for a moment"
    assert scene.told == []


def test_one_that_is_ended_for_its_silence_had_flushed_and_is_followed_at_once(scene: Scene) -> None:
    look = scene.look()
    look.look()
    scene.is_gone()
    scene.now += 1.0
    scene.flushes()
    seen_for(scene, look, 11.0)
    assert scene.ended != []
    assert scene.notes.has_flushed
    assert len(scene.started) == 1


def test_somebody_who_is_stopped_in_the_middle_of_the_notes_keeps_nobody_from_ending_it(scene: Scene) -> None:
    """The flusher itself may be, and it is the one to be ended."""
    look = scene.look()
    scene.flushes()
    with Starting(scene.directory).changing():
        seen_for(scene, look, 10.5)
    assert scene.ended == [1]
    assert scene.notes.seen is not None
    assert scene.notes.seen.killed_at is not None


def test_one_that_is_killed_and_does_not_die_is_told_and_not_killed_again(scene: Scene) -> None:
    look = scene.look()
    scene.flushes()
    seen_for(scene, look, 14.0)
    assert scene.ended == [1]
    assert len(scene.started) == 1
    assert "it was killed and does not die" in scene.told[0]


def test_one_that_may_not_be_ended_is_told_and_none_is_started(scene: Scene) -> None:
    look = scene.look()
    scene.why_it_lives_on = "it runs in another container"
    scene.flushes()
    seen_for(scene, look, 10.5)
    assert scene.started == []
    assert "it runs in another container" in scene.told[0]
    assert scene.notes.seen is not None
    assert scene.notes.seen.killed_at is None


@pytest.mark.parametrize(
    ("in_flight", "is_stopped", "patience"), [(None, False, 10), (4999.0, True, 10), (4999.0, False, 80)]
)
def test_a_program_that_drains_has_the_time_of_its_request(
    scene: Scene, in_flight: float | None, is_stopped: bool, patience: int
) -> None:
    look = scene.look()
    scene.is_stopped = is_stopped
    scene.flushes(kind="caller", in_flight=in_flight)
    seen_for(scene, look, patience - 0.5)
    assert scene.ended == []
    seen_for(scene, look, 1.0)
    assert scene.ended != []


def test_one_that_beats_or_has_ended_in_order_is_left_alone(scene: Scene) -> None:
    look = scene.look()
    for state in ("sending", "ended"):
        scene.flushes(state=state)
        for _ in range(40):
            look.look()
            scene.now += 0.5
    assert scene.ended == []
    assert scene.told == []


@pytest.mark.parametrize("before", [None, "ended"])
def test_who_takes_the_lock_and_does_not_begin_to_flush_is_told_after_a_while(
    scene: Scene, before: FlusherState | None
) -> None:
    """It may have been stopped in that moment: the last beat is of the one before it, or there is none."""
    look = scene.look()
    if before is not None:
        scene.flushes(state=before)
    scene.held = [True]
    seen_for(scene, look, 9.5)
    assert scene.told == []
    seen_for(scene, look, 1.0)
    assert "a process holds the flusher's lock and shows no sign of life: `fuser flusher.lock`" in scene.told[0]
    assert (scene.ended, scene.started) == ([], [])


# Making way, and what is told of who flushes


def test_who_began_later_with_other_settings_has_the_flusher_make_way_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = scene.look()
    theirs = look.program._replace(settings=b"others", began=look.program.began - 100.0)
    for changes, expected in (
        ({"kind": "external", "program": theirs}, 0),
        ({"program": theirs._replace(began=look.program.began)}, 0),
        ({"program": look.program}, 0),
        ({"program": theirs}, 1),
        ({"program": theirs}, 1),
    ):
        scene.flushes(**changes)
        look.look()
        assert len(scene.started) == expected, changes
        scene.now += 20.0  # what was started is given up
    for other in (scene.look(flusher="external"), scene.look(api_key=None)):
        other.look()
    assert len(scene.started) == 1
    monkeypatch.setattr(look_module, "find_interpreter", lambda: None)
    scene.look().look()
    assert len(scene.started) == 1


def test_who_could_not_ask_because_another_start_was_on_its_way_asks_later(scene: Scene) -> None:
    look = scene.look()
    scene.flushes(program=look.program._replace(settings=b"others", began=look.program.began - 100.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Starting, "begin", lambda _: None)
        look.look()
    assert scene.started == []
    scene.refusal = OSError(errno.EAGAIN, "no process")
    look.look()
    look.look()
    assert scene.started == []
    assert scene.notes.failures == 1, "it is backed off"
    scene.refusal = None
    scene.now += 60.0
    scene.flushes(program=look.program._replace(settings=b"others", began=look.program.began - 100.0))
    look.look()
    assert len(scene.started) == 1


@pytest.mark.parametrize(
    ("theirs", "trouble", "expected"),
    [
        ({"key": b"other"}, {"key_refused": True}, 1),
        ({"key": b"other"}, {}, 0),
        ({"surroundings": b"other"}, {"unreachable_since": 4000.0}, 1),
        ({"surroundings": b"other"}, {}, 0),
        ({}, {"key_refused": True}, 0),
    ],
)
def test_one_whose_key_is_refused_or_that_reaches_nobody_makes_way_for_who_began_earlier_too(
    scene: Scene, theirs: dict[str, Any], trouble: dict[str, Any], expected: int
) -> None:
    look = scene.look()
    scene.flushes(program=look.program._replace(**theirs, began=look.program.began + 100.0), **trouble)
    look.look()
    assert len(scene.started) == expected


def test_who_is_blocked_is_told_at_once_and_who_is_in_trouble_when_it_lasts(scene: Scene) -> None:
    look = scene.look()
    scene.flushes(state="retrying", reason="the server is away", trouble_since=scene.now - 29.0)
    look.look()
    assert scene.told == []
    scene.now += 1.0
    look.look()
    assert scene.told == ["nothing is delivered for 30 s, 0 events are kept: the server is away"]
    scene.now += 60.0
    scene.flushes(state="blocked", reason="the key is refused", trouble_since=scene.now)
    look.look()
    assert scene.told[1:] == ["nothing is delivered, 0 events are kept: the key is refused"]


@pytest.mark.parametrize("size", [0, 5_000])
def test_a_silent_flusher_is_ended_also_where_the_disk_takes_no_notes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    Path(scene.directory.starting).write_bytes(bytes(size))

    def refuses(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    look = scene.look()
    scene.flushes(pid=4242)
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", refuses)
        scene.is_young = False
        for _ in range(11):
            look.look()
            scene.now += 1.0
    assert scene.ended == [4242]


def test_what_the_disk_has_not_taken_is_noted_when_it_does_and_nobody_has_noted_anything_since(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Starting(scene.directory), Starting(scene.directory)

    def note(starting: Starting, words: str) -> None:
        with starting.changing() as notes:
            assert notes is not None
            notes.words = words

    note(theirs, "before")
    for somebody_noted in (False, True):
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", lambda descriptor, data, _: os.write(descriptor, data[:7]))
            note(ours, "full")
        assert ours.read().words == "full"
        if somebody_noted:
            note(theirs, "since")
        assert ours.read().words == ("since" if somebody_noted else "full")
        with ours.changing():
            pass
        assert theirs.read().words == ("since" if somebody_noted else "full")


def test_the_newest_version_that_looks_is_noted_now_and_then(scene: Scene) -> None:
    look = scene.look()
    scene.flushes(program=look.program)
    look.look()
    assert (scene.notes.newest_version, scene.notes.newest_at) == (look.program.version, scene.now)
    scene.now += 19.0
    look.look()
    assert scene.notes.newest_at == scene.now - 19.0
    scene.now += 1.0
    look.look()
    assert scene.notes.newest_at == scene.now
    with Starting(scene.directory).changing() as notes:
        assert notes is not None
        notes.newest_version = "99.0"
    scene.now += 20.0
    look.look()
    assert (scene.notes.newest_version, scene.notes.newest_at) == ("99.0", scene.now - 20.0)


def test_who_starts_a_flusher_notes_its_version_then_and_not_when_it_sees_it_flush(scene: Scene) -> None:
    look = scene.look()
    look.look()
    assert len(scene.started) == 1
    assert (scene.notes.newest_version, scene.notes.newest_at) == (look.program.version, scene.now)
    scene.now += 1.0
    scene.flushes(program=look.program)
    look.look()
    assert scene.notes.newest_at == scene.now - 1.0


# What else


def test_events_in_memory_are_noted_for_each_process_until_the_disk_has_taken_them(scene: Scene) -> None:
    look = scene.look()
    with Starting(scene.directory).changing() as notes:
        assert notes is not None
        notes.in_memory = {1: 7}
    look.note_in_memory(5)
    assert scene.notes.in_memory == {1: 7, os.getpid(): 5}
    look.note_in_memory(0)
    assert scene.notes.in_memory == {1: 7}


def test_an_error_of_what_is_called_here_is_logged_once_and_one_of_the_applications_comes_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    look = scene.look()
    monkeypatch.setattr(hung, "reap", partial(json.loads, "no JSON"))
    for _ in range(2):
        look.look()
    [logged] = caplog.messages
    assert logged.startswith("looking after the flusher failed: JSONDecodeError: ")
    monkeypatch.setattr(hung, "reap", partial(fingerprint, 5))  # type: ignore[arg-type]
    look.look()
    assert caplog.messages[1].startswith("looking after the flusher failed: AttributeError: "), "our own"

    def time_limit() -> None:
        raise RuntimeError("a time limit")

    monkeypatch.setattr(hung, "reap", time_limit)
    with pytest.raises(RuntimeError, match="a time limit"):
        look.look()


def test_the_program_of_a_process_is_made_once(scene: Scene) -> None:
    look = scene.look()
    assert look.program is look.program
    assert look.program != THEIRS
