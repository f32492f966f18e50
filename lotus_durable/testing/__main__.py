"""Run a FakeLotus as a process of its own: ``python -m lotus_durable.testing``.

The first line on standard output is its URL. It ends on SIGTERM or SIGINT, and with ``--until-stdin-closes`` when
its starter closes the pipe or dies. ``/_fake/`` (see ``control``) shows and changes its state from outside.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, TextIO

from lotus_durable.testing.control import ControlledLotus
from lotus_durable.testing.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 0 when it ended in order, 2 for a wrong argument or a port that is taken."""
    options = _parse(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with ExitStack() as stack:
        server = ControlledLotus(
            options.generation,
            api_key=options.api_key,
            customers=options.customer or ([] if options.only_known_customers else None),
            faults=Faults.from_json(options.faults),
            port=options.port,
            text_key_errors=options.text_key_errors,
            keep_requests=0,
            keep_events=False,
            stores_like_the_server=not options.stores_all,
        )
        try:
            server.start()
        except OSError as error:
            print(f"port {options.port}: {error}", file=sys.stderr)  # noqa: T201  # a command's output
            return 2
        stack.callback(server.stop)
        print(server.host, flush=True)  # noqa: T201
        if options.until_stdin_closes:
            threading.Thread(target=_wait_for_end, args=(sys.stdin, stop), daemon=True).start()
        while not stop.wait(3600):
            pass
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lotus_durable.testing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--generation", choices=["L22", "L24"], default="L24")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--api-key", default="test-key", help="the valid key (default: test-key)")
    parser.add_argument("--customer", action="append", metavar="ID", help="a known customer; default: all are")
    parser.add_argument("--only-known-customers", action="store_true", help="L22: know nobody but the --customer given")
    parser.add_argument("--faults", type=_faults_json, default={}, metavar="JSON", help="see Faults.from_json")
    parser.add_argument("--text-key-errors", action="store_true", help="L24: key errors as plain text")
    parser.add_argument("--stores-all", action="store_true", help="store whatever was accepted, as no real server does")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    return parser.parse_args(arguments)


def _faults_json(text: str) -> dict[str, object]:
    value = json.loads(text)
    Faults.from_json(value)  # a ValueError here is a wrong argument
    assert isinstance(value, dict)
    return value


def _wait_for_end(stream: TextIO, stop: threading.Event) -> None:
    while stream.read(4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
