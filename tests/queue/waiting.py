"""Waiting for other threads and processes, with an eye on each half millisecond: what they do is killed midway."""

from __future__ import annotations

from functools import partial

from tests import waiting

wait_until = partial(waiting.wait_until, pause=0.0005)
