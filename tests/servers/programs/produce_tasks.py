"""Sends tasks to the Celery application. Arguments: how many that track, that die, that hang."""

from __future__ import annotations

import sys

from tests.servers.apps.celery_tasks import track_and_die, track_and_hang, track_some


def main(tracking: int, dying: int, hanging: int) -> None:
    """Send them, those that die among those that track."""
    for number in range(tracking):
        track_some.delay(number % 9 + 1)
        if dying and number % (tracking // dying) == 0:
            track_and_die.delay(3)
    for _ in range(hanging):
        track_and_hang.delay(3)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
