"""One worker of the demo, a process of its own: it tracks events, and writes down which ones were accepted.

It uses the library as any program does. A line goes into its record when ``track_event`` has returned: by these lines,
not by what the queue says about itself, the demo counts. Ids count on, so the number of lines says which one is next.
"""

from __future__ import annotations

import os
import sys
import time

import lotus_durable as lotus

_CUSTOMERS = 20


def event_id(worker: int, number: int) -> str:
    """Return the idempotency id of a worker's event; all have the same length, so that a size counts lines."""
    return f"worker-{worker:02d}-event-{number:07d}"


def main(demo: int, worker: int, first: int, last: int, rate: float, record: str) -> None:
    """Track the events from number ``first`` to the one before ``last``, at this rate a second, while the demo runs."""
    started = time.monotonic()
    with open(record, "ab", buffering=0) as accepted:
        for number in range(first, last):
            if os.getppid() != demo:
                os._exit(0)  # it was killed: nobody waits for the rest, and the queue's folder is being removed
            accepted_id = lotus.track_event(
                customer_id=f"customer-{number % _CUSTOMERS:02d}",
                event_name="api_call",
                properties={"region": "EU", "path": f"/files/{number}", "mb_used": number % 97 / 7},
                idempotency_id=event_id(worker, number),
            )
            accepted.write(f"{accepted_id}\n".encode())
            time.sleep(max(0.0, started + (number - first + 1) / rate - time.monotonic()))


if __name__ == "__main__":
    _demo, _worker, _first, _last = (int(each) for each in sys.argv[1:5])
    main(_demo, _worker, _first, _last, float(sys.argv[5]), sys.argv[6])
