"""What a child has to say to its starter, who may be slow to listen, or never: a uWSGI worker without requests."""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from lotus_durable.errors import LotusError

from .messages import LogLine, Message, Trouble, encode

_MOST_BYTES = 8 << 20
"""Bytes that wait to be read; above, the oldest messages go. The events they are about are safe on disk anyway."""
_LAST_WORDS = 1.0
"""Seconds that a child which ends waits for what it said to be taken."""


class Outbox(logging.Handler):
    """Sends log lines and errors, from a thread of its own: the uploading never waits for it.

    Args:
        descriptor: where to; does not block.
        level: of the log lines that are sent.
    """

    def __init__(self, descriptor: int, level: int) -> None:
        super().__init__(level)
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._dropped = 0
        self._news = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="lotus_durable reports", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log line, with its traceback if it has one."""
        self.send(LogLine(record.levelno, self.format(record)))

    def report(self, error: LotusError, events: Sequence[dict[str, Any]]) -> None:
        """Send what is for ``on_error``."""
        self.send(Trouble(error, events))

    def send(self, message: Message) -> None:
        """Have a message sent as soon as it can be."""
        line = encode(message)
        with self._news:
            self._lines.append(line)
            self._waiting += len(line)
            while self._waiting > _MOST_BYTES and len(self._lines) > 1:
                self._waiting -= len(self._lines.popleft())
                self._dropped += 1
            self._news.notify()

    def close(self) -> None:
        """Send what can be sent now."""
        with self._news:
            self._is_closing = True
            self._news.notify()
        self._thread.join(_LAST_WORDS)
        super().close()

    def _run(self) -> None:
        while (line := self._next()) is not None:
            try:
                self._write(line)
            except OSError:
                return  # nobody is there to read it

    def _next(self) -> bytes | None:
        with self._news:
            while not self._lines and not self._is_closing:
                self._news.wait()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                text = f"{dropped} messages of the uploader process were dropped: they were not read in time"
                return encode(LogLine(logging.WARNING, text))
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._waiting -= len(line)
            return line

    def _write(self, line: bytes) -> None:
        deadline = None
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLOUT)
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:
                if self._is_closing:
                    deadline = deadline or time.monotonic() + _LAST_WORDS
                    if time.monotonic() > deadline:
                        return
                waiting.poll(100)
