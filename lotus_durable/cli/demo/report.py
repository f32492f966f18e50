"""The demo's result: the workers' records of what was accepted, against the server's list of what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lotus_durable.cli.output import aligned
from lotus_durable.cli.wording import count

_SHOWN_IDS = 100


@dataclass(slots=True)
class Result:
    """What became of the events; :meth:`as_json` has the documented keys."""

    tracked: int = 0
    """Events for which ``track_event`` returned."""
    at_server: int = 0
    lost_ids: list[str] = field(default_factory=list)
    """Tracked, and not at the server."""
    never_tracked_ids: list[str] = field(default_factory=list)
    """At the server, and tracked by nobody."""
    duplicate_ids: list[str] = field(default_factory=list)
    """The server got them more than once, and counted them once."""
    kills: dict[str, int] = field(default_factory=lambda: {"workers": 0, "flushers": 0})
    new_flusher_after: list[float] = field(default_factory=list)
    """For each kill of a flusher while events were tracked: after how many seconds another one flushed."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    """Whatever else is not as promised."""
    directory: str | None = None
    """Where the files are kept."""

    def compare(self, tracked: Sequence[str], stored: set[str], received: Mapping[str, int]) -> None:
        """Enter the ids in the workers' records, those in the server's database, and how often it got which id."""
        known = set(tracked)
        self.tracked, self.at_server = len(known), len(stored)
        self.lost_ids = sorted(known - stored)
        self.never_tracked_ids = sorted(stored - known)
        self.duplicate_ids = sorted(each for each, times in received.items() if times > 1)

    @property
    def ok(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost_ids or self.never_tracked_ids or self.problems)

    def as_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        found = {"ok": self.ok, **asdict(self)}
        for name in ("lost_ids", "never_tracked_ids", "duplicate_ids"):
            found[name] = getattr(self, name)[:_SHOWN_IDS]
            found[{"duplicate_ids": "duplicates"}.get(name, name.removesuffix("_ids"))] = len(getattr(self, name))
        return found

    def as_text(self) -> str:
        """Return a table, and below it whether all is as promised."""
        again = f"sent again, counted once: {self.duplicate_ids[0]} …" if self.duplicate_ids else ""
        killed = f"by SIGKILL: {count(self.kills['flushers'], 'flusher')}, {count(self.kills['workers'], 'worker')}"
        rows = [
            ("tracked", count(self.tracked), "by the workers' own records"),
            ("at the server", count(self.at_server), "in its database"),
            ("lost", count(len(self.lost_ids)), "tracked, and not at the server"),
            ("never tracked", count(len(self.never_tracked_ids)), "at the server, and tracked by nobody"),
            ("duplicates", count(len(self.duplicate_ids)), again),
            ("killed", count(sum(self.kills.values())), killed),
        ]
        if self.new_flusher_after:
            rows.append(("new flusher", f"{max(self.new_flusher_after):.2f} s", "after a kill, at the most"))
        wrong = [*self.problems, *(f"lost: {each}" for each in self.lost_ids[:_SHOWN_IDS])]
        wrong += [f"never tracked: {each}" for each in self.never_tracked_ids[:_SHOWN_IDS]]
        lines = [aligned(rows), ""]
        lines += [f"NOT as promised: {each}" for each in wrong] or [f"Nothing was lost ({self.seconds:.0f} s)."]
        if self.directory is not None:
            lines.append(f"The queue and the workers' records are in {self.directory}")
        return "\n".join(lines)
