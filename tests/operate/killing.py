"""A process that does something to a queue and is killed in the middle, at a point that a test names."""

from __future__ import annotations

import signal

from tests import scripts
from tests.rig import Rig

_PRELUDE = """
import itertools
from lotus_durable.config import Config
from lotus_durable.operate import segment_file
from lotus_durable.queue.books import Books
from lotus_durable.queue.database import BooksDatabase

step, number = sys.argv[3:5]
calls = itertools.count(1)

def kill_if_due(at):
    if at == step and next(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)

def watched(cls, name, before="", after=""):
    original = getattr(cls, name)
    def method(self, *arguments, **named):
        kill_if_due(before)
        result = original(self, *arguments, **named)
        kill_if_due(after)
        return result
    setattr(cls, name, method)

attempt = BooksDatabase._attempt

def watched_attempt(self, work):
    def and_kill():
        result = work()
        kill_if_due("within the transaction")
        return result
    return attempt(self, and_kill)

BooksDatabase._attempt = watched_attempt
watched(Books, "settle", "before it is settled", "after it is settled")
watched(segment_file.NewSegment, "add", "before an event is written")
watched(segment_file.NewSegment, "finish", "before it is finished", "after it is finished")
watched(segment_file.NewSegment, "publish", "before it is published", "after it is published")
config = Config.resolve(dict(queue_dir=queue_dir))
"""


def killed(rig: Rig, code: str, step: str, number: int = 1) -> None:
    """Run the code until it is killed; ``config`` is at hand."""
    result = scripts.run(_PRELUDE + code, rig.queue_dir, rig.server.host, step, number)
    assert result.returncode == -signal.SIGKILL, f"{step}: {result.stderr}"
