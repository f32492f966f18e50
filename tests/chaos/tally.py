"""What a run counts as it goes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .plan import BATCH


@dataclass(slots=True)
class Tally:
    """Counters; the stage fills them in."""

    signals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By victim (worker, leader, flusher) and signal."""
    points: Counter[str] = field(default_factory=Counter)
    """Kills at each named point."""
    missed: Counter[str] = field(default_factory=Counter)
    """Strikes that found nobody: the point was not reached in time, or there was no such process."""
    rounds: int = 0
    full_disks: int = 0
    uploader_kills: int = 0
    """SIGKILLs of whoever led."""
    plain_uploader_kills: int = 0
    """Those in rounds in which the server and the disk were well."""
    plain_sent_again: int = 0
    """Duplicates that the server got in those rounds."""
    worst_sent_again: float = 0.0
    """The most of them in one round, for each kill of a leader in it."""
    takeovers: list[float] = field(default_factory=list)
    """Seconds from the SIGKILL of a leader to the first heartbeat of the next one."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds, after each round, until all that was accepted by its end was settled."""
    books_seen: int = 0
    """How often the books were looked at in the middle of it all."""
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """SIGKILLs, by signal and at points."""
        by_signal = sum(count for (_, name), count in self.signals.items() if name == "SIGKILL")
        return by_signal + sum(self.points.values())

    def count_sent_again(self, duplicates: int, uploader_kills: int) -> None:
        """Count what a plain round sent again, and hold it against one batch for each kill."""
        self.plain_uploader_kills += uploader_kills
        self.plain_sent_again += duplicates
        self.worst_sent_again = max(self.worst_sent_again, duplicates / max(1, uploader_kills))
        if duplicates > BATCH * uploader_kills:
            self.problems.append(
                f"{duplicates} events were sent again in a round with {uploader_kills} kills of a leader: "
                f"more than a batch of {BATCH} each"
            )
