"""The figures of one test with a real server, as a line of a table."""

from __future__ import annotations

from dataclasses import dataclass

from .killing import Kills
from .oracle import Verdict

HEADLINE = f"{'server':<60} {'requests':>8} {'kills':>5} {'events':>7} {'lost':>5} {'resent':>6} {'takeover':>8}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a test did, and what came of it."""

    server: str
    requests: int
    """Those that were answered, or tasks that were run."""
    kills: Kills
    verdict: Verdict

    def __str__(self) -> str:
        takeover = f"{max(self.kills.takeovers):.2f} s" if self.kills.takeovers else "-"
        return (
            f"{self.server:<60} {self.requests:>8} {self.kills.total:>5} {len(self.verdict.at_server):>7} "
            f"{len(self.verdict.lost):>5} {self.verdict.sent_again:>6} {takeover:>8}"
        )
