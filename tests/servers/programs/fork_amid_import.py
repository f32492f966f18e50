"""Forks while another thread is in the middle of an import that uploading needs.

Arguments: the module; ``main`` or ``other``, the thread that forks. The child tracks and drains, with its parent dead.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import lotus_durable as lotus
from tests.servers.apps.tracking import track

_SLOWNESS = 0.3  # seconds that the import takes, at the least


class SlowImport:
    """A finder that finds nothing, and takes its time for one module."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.begun = threading.Event()

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Be asked by the import system."""
        if name == self._name and not self.begun.is_set():
            self.begun.set()
            time.sleep(_SLOWNESS)
        return None


def fork(slow: SlowImport) -> None:
    """Fork as soon as the import has begun; the parent dies, the child goes on alone."""
    assert slow.begun.wait(10), "nothing imports it"
    if os.fork():
        os._exit(0)
    track(3)
    try:
        lotus.drain(20)
    except lotus.DeliveryBlocked:
        traceback.print_exc()
    lotus.shutdown()
    os._exit(0)


def main(module: str, forking_thread: str) -> None:
    """Do it."""
    slow = SlowImport(module)
    sys.meta_path.insert(0, slow)
    if forking_thread == "main":
        track()
        fork(slow)
    else:
        threading.Thread(target=fork, args=(slow,), daemon=True).start()
        track()
        time.sleep(30)


if __name__ == "__main__":
    main(*sys.argv[1:])
