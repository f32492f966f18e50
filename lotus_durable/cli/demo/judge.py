"""What became of the events: the workers' records of what was accepted, against the server's list of what it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Judgement:
    """The ids, by what became of them."""

    tracked: int
    """Events for which ``track_event`` returned."""
    at_server: int
    lost: list[str]
    """Tracked, and not at the server."""
    never_tracked: list[str]
    """At the server, and tracked by nobody."""
    in_doubt: list[str]
    """At the server; their worker was killed before it could write down that the call had returned."""
    duplicates: list[str]
    """The server got them more than once, and counted them once."""
    problems: list[str] = field(default_factory=list)
    """Whatever else is not as promised."""

    @property
    def is_good(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost or self.never_tracked or self.problems)


def judge(
    tracked: Collection[str], in_doubt: Collection[str], received: Mapping[str, int], problems: list[str]
) -> Judgement:
    """Compare.

    Args:
        tracked: the ids in the workers' records.
        in_doubt: the ids of the events at which workers were killed.
        received: how often the server got which id.
        problems: what went wrong on the way.
    """
    known = set(tracked)
    repeated = len(tracked) - len(known)
    return Judgement(
        tracked=len(known),
        at_server=len(received),
        lost=sorted(known - received.keys()),
        never_tracked=sorted(received.keys() - known - set(in_doubt)),
        in_doubt=sorted((set(in_doubt) - known) & received.keys()),
        duplicates=sorted(each for each, times in received.items() if times > 1),
        problems=[*problems, *([f"{repeated} ids were accepted twice"] if repeated else [])],
    )
