"""``on_error`` is called with everything that is reported, and never twice at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any

from lotus_durable import log
from lotus_durable.client import reporter_for
from lotus_durable.errors import LotusError


class Paused(threading.Thread):
    """Calls something, and stands still before so many lines of the reporter."""

    def __init__(self, call: Callable[[], object], lines: int) -> None:
        super().__init__()
        self.call, self.lines_left = call, lines
        self.error: Exception | None = None
        self.stands, self.may_go_on = threading.Event(), threading.Event()
        self.start()
        assert self.stands.wait(10)

    def run(self) -> None:
        sys.settrace(self.trace)
        try:
            self.call()
        except Exception as error:  # noqa: BLE001  # looked at by the test
            self.error = error
        finally:
            sys.settrace(None)
            self.stands.set()

    def trace(self, frame: FrameType, event: str, _: object, /) -> Any:  # what settrace takes
        if frame.f_code.co_filename != log.__file__:
            return None
        if event == "line":
            if self.lines_left == 0:
                self.stands.set()
                assert self.may_go_on.wait(10)
            self.lines_left -= 1
        return self.trace

    def went_on(self) -> bool:
        """Let it end, and return whether it had stood still."""
        self.may_go_on.set()
        self.join()
        assert self.error is None
        return self.lines_left < 0


def at_each_step(meet: Callable[[int], bool]) -> None:
    """Have two reports meet when one of them is before its first line, its second, and so on to its end."""
    assert next(lines for lines in count() if not meet(lines)) > 0


def test_what_comes_at_any_step_of_another_report_is_told() -> None:
    def meet(lines: int) -> bool:
        told: list[str] = []
        report = log.Reporter(lambda error, _: told.append(str(error)))
        first = Paused(lambda: report(LotusError("first")), lines)
        report(LotusError("second"))
        stood = first.went_on()
        assert sorted(told) == ["first", "second"]
        return stood

    at_each_step(meet)


def test_what_begins_while_on_error_runs_and_ends_after_it_is_told() -> None:
    def meet(lines: int) -> bool:
        told: list[str] = []
        second: list[Paused] = []

        def on_error(error: LotusError, _: object) -> None:
            told.append(str(error))
            if not second:
                second.append(Paused(lambda: report(LotusError("second")), lines))

        report = log.Reporter(on_error)
        report(LotusError("first"))
        stood = second[0].went_on()
        assert told == ["first", "second"]
        return stood

    at_each_step(meet)


def test_what_on_error_itself_reports_is_told_when_it_has_returned() -> None:
    told: list[str] = []

    def on_error(error: LotusError, _: object) -> None:
        told.append(f"{error} begins")
        if str(error) == "first":
            report(LotusError("second"))
            assert report.is_running()
        told.append(f"{error} ends")

    report = log.Reporter(on_error)
    report(LotusError("first"))
    assert told == ["first begins", "first ends", "second begins", "second ends"]
    assert not report.is_running()


def test_a_function_of_several_clients_is_called_by_one_of_them_at_once_and_not_from_within_itself() -> None:
    told: list[str] = []

    def on_error(error: LotusError, _: object) -> None:
        told.append(f"{error} begins")
        if str(error) == "first":
            reporter_for(on_error)(LotusError("second"))
        told.append(f"{error} ends")

    reporter_for(on_error)(LotusError("first"))
    assert told == ["first begins", "first ends", "second begins", "second ends"]


def test_on_error_in_one_thread_is_none_in_another_which_may_wait_for_a_drain() -> None:
    runs, may_end = threading.Event(), threading.Event()

    def on_error(_: LotusError, __: object) -> None:
        runs.set()
        assert may_end.wait(10)

    report = log.Reporter(on_error)
    thread = threading.Thread(target=report, args=(LotusError("first"),))
    thread.start()
    assert runs.wait(10)
    assert not report.is_running()
    may_end.set()
    thread.join()
