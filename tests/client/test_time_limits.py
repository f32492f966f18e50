"""An application's time limit (a signal handler that raises) strikes inside a call of ours, and comes out of it.

A TimeoutError is an OSError, and so is all that a disk says: who catches every OSError in a process that tracks takes
the application's for the disk's.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import lotus_durable
from lotus_durable.client import Client
from lotus_durable.queue.sqlite import _opened_by as opened_in_this_process
from lotus_durable.queue.table import EventTable
from tests.rig import Rig, track
from tests.scripts import lines

PACKAGE = os.path.dirname(lotus_durable.__file__)
Place = tuple[str, int]
"""A file and a line of it."""
Scene = Callable[[], Callable[[], object]]
"""Makes ready, and returns the call to be struck."""


def traced(call: Callable[[], object], at_line: Callable[[Place], object]) -> None:
    """Call, and be told of each line before it runs: of ours, and of the functions of others that ours call."""

    def is_ours(frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code.co_filename.startswith(PACKAGE)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not (is_ours(frame) or is_ours(frame.f_back)) or frame.f_code.co_name == "__del__":
            return None  # from there nothing can come out
        if event == "line":
            at_line((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    gc.disable()  # what a callback of the collector raises, hypothesis's for one, comes out nowhere
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()


def places_in(scene: Scene) -> list[Place]:
    """Return each line that a call comes to, once."""
    found: dict[Place, None] = {}
    call = scene()
    traced(call, found.setdefault)
    return list(found)


def is_swallowed(scene: Scene, struck: Place) -> bool:
    """Whether a call goes on although a handler raises when it comes to this line for the first time."""
    has_struck = False

    def strike(place: Place) -> None:
        nonlocal has_struck
        if place == struck and not has_struck:
            has_struck = True
            raise TimeoutError("the request takes too long")

    try:
        traced(scene(), strike)
    except TimeoutError:
        return False
    return has_struck  # it may not come to each line each time


def uncheck(client: Client) -> None:
    """Have the next event look first whether all is where it was."""
    for pair in client._tracker.pairs:
        pair.appender.checked_at = math.inf


@pytest.fixture
def silence() -> Iterator[None]:
    """Whatever is raised where a message is written, logging takes for an error of the handler that writes it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def closed() -> Iterator[None]:
    """What a strike leaves open, in the middle of an opening or a closing, stays open to the process's end."""
    yield
    for table in gc.get_objects():
        if type(table) is EventTable and hasattr(table, "_conn"):
            table.close()
    opened_in_this_process.clear()


# A strike may come between a connection's making and its name; since 3.13 sqlite3 tells of one that nobody closed.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.usefixtures("silence", "closed")
@pytest.mark.parametrize("backend", ["journal", "sqlite"])
@pytest.mark.parametrize("which", ["first", "later", "after a move", "look"])
def test_a_time_limit_that_strikes_at_any_line_of_a_call_comes_out_of_it(rig: Rig, which: str, backend: str) -> None:
    clients: list[Client] = []
    ids: list[str] = []

    def make() -> Client:
        for each in clients:
            each.release()
            shutil.rmtree(each.config.queue_dir, ignore_errors=True)
        clients[:] = [rig.client(queue_dir=rig.queue_dir / "queue", backend=backend, trusted_look=0.0, on_error=None)]
        return clients[0]

    def first() -> Callable[[], object]:
        client = make()
        return lambda: track(client, 1)

    def later() -> Callable[[], object]:
        client = clients[0] if clients else make()
        ids.extend(track(client, 1))
        uncheck(client)
        return lambda: track(client, 1)

    def after_a_move() -> Callable[[], object]:
        client = make()
        track(client, 1)
        shutil.move(client.config.queue_dir, rig.queue_dir / "moved")
        shutil.rmtree(rig.queue_dir / "moved")
        uncheck(client)
        return lambda: track(client, 1)

    def look() -> Callable[[], object]:
        if not clients:
            track(make(), 1)
        return clients[0]._tracker.look_now

    scene = {"first": first, "later": later, "after a move": after_a_move, "look": look}[which]
    known = places_in(first) if which == "after a move" else []
    places = [place for place in places_in(scene) if place not in known]
    assert len({path for path, _ in places if path.startswith(PACKAGE)}) > 4
    assert [place for place in places if is_swallowed(scene, place)] == []
    ids.extend(track(clients[0], 1))
    assert clients[0].stats().in_memory == 0
    assert clients[0].drain(60).complete
    clients[0].release()
    assert set(ids[-1:] if which != "later" else ids) <= set(rig.server.times_received)


@pytest.mark.parametrize("backend", ["journal", "sqlite"])
@pytest.mark.parametrize("number", ["", "110, "], ids=["without a number", "ETIMEDOUT"])
def test_time_limits_that_strike_anywhere_in_a_call_are_the_callers(rig: Rig, backend: str, number: str) -> None:
    code = """
    import random
    strikes = caught = 0
    is_inside = False

    def strike(*_):
        global strikes, is_inside
        if is_inside:  # once in a call: another thread may be given a signal, and take it late, in the next call's time
            is_inside = False
            strikes += 1
            raise eval(f"TimeoutError({sys.argv[4]}'takes too long')")

    errors = []
    client = make(trusted_look=3600.0, backend=sys.argv[3], on_error=lambda error, _: errors.append(error))
    ids = track(client)
    signal.signal(signal.SIGALRM, strike)
    finalizers = []  # where Python cannot raise it
    sys.unraisablehook = lambda raised: finalizers.append(raised) if raised.exc_type is TimeoutError else None
    while strikes < 300:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-4))
        try:
            is_inside = True
            ids += track(client)
            is_inside = False
        except TimeoutError:
            caught += 1
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    say(strikes - caught - len(finalizers), client.stats().in_memory, errors)
    say(client.drain(60).complete)
    say(*ids)
    """
    struck, complete, ids = lines(code, rig.queue_dir, rig.server.host, backend, number)
    assert struck == "0 0 []"
    assert complete == "True"
    assert set(ids.split()) <= set(rig.server.times_received)
