"""Run a FakeLotus as a process of its own: ``python -m lotus_durable.testing '{"generation": "L22", "port": 8000}'``.

The argument is a JSON object of :class:`FakeLotus`'s arguments; ``faults`` as in :meth:`Faults.from_json`. The first
line on standard output is its URL. It ends on SIGTERM or SIGINT, and with ``--until-stdin-closes`` when its starter
closes the pipe or dies.

Another process can look at it and tell it what to do by ``POST /_fake/<name>``, a name of ``_ORDERS``: the body is a
JSON object of arguments, the answer the result as JSON, 400 or 404 with ``{"error": …}`` when it is not understood.
These requests need no key, take part in no fault and are not recorded.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

from lotus_durable.testing.exchange import JSON, Answer, Reply
from lotus_durable.testing.fake_lotus import FakeLotus
from lotus_durable.testing.faults import Faults
from lotus_durable.testing.listener import Connection

_PREFIX = "/_fake/"
_ORDERS = {"counts", "times_received", "database", "go_away_for", "set_faults"}


class ControlledLotus(FakeLotus):
    """A FakeLotus with these endpoints."""

    def decide(self, connection: Connection) -> Reply:
        """Do what is asked and answer with the result; else answer as ever."""
        if not connection.request.path.startswith(_PREFIX):
            return super().decide(connection)
        request = connection.read()
        name, status, result = request.path.removeprefix(_PREFIX), 200, None
        if name not in _ORDERS or request.method != "POST":
            status, result = 404, {"error": f"no {request.method} {name}"}
        else:
            try:
                order = getattr(self, name)
                result = order(**json.loads(request.body or b"{}")) if callable(order) else order
            except (ValueError, TypeError, AttributeError) as error:
                status, result = 400, {"error": f"{type(error).__name__}: {error}"}
        return Reply(Answer(status, json.dumps(result, default=sorted).encode(), JSON))

    def set_faults(self, faults: dict[str, Any]) -> None:
        """Replace the faults by what ``Faults.from_json`` takes; ``{}`` ends them."""
        self.faults: Faults = Faults.from_json(faults)


def main(arguments: Sequence[str]) -> int:
    """Serve until told to stop; 0 when it ended in order, 2 for a wrong argument or a port that is taken."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: sys.exit())
    options = [argument for argument in arguments if argument != "--until-stdin-closes"]
    try:
        given = {"keep_requests": 0, "keep_events": False, **json.loads("".join(options) or "{}")}
        server = ControlledLotus(**{**given, "faults": Faults.from_json(given.get("faults", {}))})
        server.start()
    except (ValueError, TypeError, OverflowError, OSError) as error:  # a port over 65,535 is an OverflowError
        print(f"{' '.join(options)}: {error}", file=sys.stderr)  # noqa: T201  # a command's output
        return 2
    with server:
        print(server.host, flush=True)  # noqa: T201
        if len(options) < len(arguments):
            sys.stdin.read()
        else:
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
