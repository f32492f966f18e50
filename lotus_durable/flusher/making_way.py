"""Keys in change: in a rolling deploy some processes have the old API key, and some the new one.

The leader may be one whose key the server refuses, while another process could deliver. That other one sees it by the
heartbeat and leaves a challenge; the leader finds it while it waits between two probes, and steps down. For as long as
its refusal is fresh, the processes with that key let others have the first try; when nobody takes it, one of them leads
on, since the leader has more to do than to send. A key is taken for good again after some probes' time, so where all
keys are refused the leader changes now and then, and not all the time.
"""

from __future__ import annotations

import contextlib
import logging
import time

from lotus_durable.queue.directory import QueueDirectory
from lotus_durable.queue.heartbeat import read_heartbeat
from lotus_durable.queue.keys import accept_challenge, challenge, fingerprint, note_refusal, was_refused

from .lock import nobody_leads

logger = logging.getLogger("lotus_durable")

_LOOK_INTERVAL = 0.5  # seconds
_FIRST_TRY = 3.0
"""Seconds for which the lock is left to processes with another key."""
_FORGIVEN_AFTER = 10
"""Probe intervals after which a refused key is worth another try."""


class KeyChange:
    """One process's part in it; for one thread.

    Args:
        directory: of the queue.
        api_key: of this process.
        probe_interval: seconds between two probes while delivery is blocked.
    """

    def __init__(self, directory: QueueDirectory, api_key: str, probe_interval: float) -> None:
        self._directory = directory
        self._key = api_key
        self._forgiven_after = _FORGIVEN_AFTER * probe_interval
        self._free_since: float | None = None
        self._looks_at = 0.0
        self._is_refused = False
        self._is_taken = False

    # Of a candidate

    def gives_way(self) -> bool:
        """Whether others should have the first try at the lock; challenges a leader whose key is refused."""
        if was_refused(self._directory, self._key, within=self._forgiven_after):
            return self._waits_for_others()
        self._free_since = None
        self._challenge()
        return False

    def is_better(self) -> bool:
        """Whether the server may take our key where it refuses the leader's."""
        beat = read_heartbeat(self._directory)
        if beat is None or beat.refused_key is None or beat.refused_key == fingerprint(self._directory, self._key):
            return False
        return not was_refused(self._directory, self._key, within=self._forgiven_after)

    def _waits_for_others(self) -> bool:
        now = time.monotonic()
        if nobody_leads(self._directory) is not True:
            self._free_since = None
            return True
        if self._free_since is None:
            self._free_since = now
        return now - self._free_since < _FIRST_TRY

    def _challenge(self) -> None:
        if time.monotonic() >= self._looks_at:
            self._looks_at = time.monotonic() + _LOOK_INTERVAL
            if self.is_better():
                with contextlib.suppress(OSError):
                    challenge(self._directory)

    # Of the leader

    def refused(self) -> str | None:
        """Note that the server refuses our key, and return the key's fingerprint."""
        if not self._is_refused:
            accept_challenge(self._directory)  # one that was meant for somebody before us
        self._is_refused, self._is_taken = True, False
        note_refusal(self._directory, self._key, refused=True)
        return fingerprint(self._directory, self._key)

    def taken(self) -> None:
        """Note that the server takes our key."""
        if not self._is_taken:  # once: this is called with each batch
            self._is_refused, self._is_taken = False, True
            note_refusal(self._directory, self._key, refused=False)

    def must_step_down(self) -> bool:
        """Whether another process, with another key, asks to try."""
        return self._is_refused and accept_challenge(self._directory)
