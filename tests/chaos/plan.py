"""What is asked of a run, and the decisions that make it up: values, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Backend = Literal["journal", "sqlite"]
Flusher = Literal["thread", "external", "process"]
Durability = Literal["process", "power"]
Generation = Literal["L22", "L24"]
Victim = Literal["worker", "leader", "flusher"]
Signal = Literal["SIGKILL", "SIGSTOP", "SIGTERM"]

API_KEY = "chaos-key"
BATCH = 200
"""Events in one request."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    workers: int = 8
    flushers: int = 1
    """External flushers: beside the workers' own candidates, or (``flusher="external"``) instead of them."""
    minutes: float = 15.0
    """After so many no new round is begun."""
    kills: int | None = None
    """SIGKILLs, by signal or at a point, after which the run may end; None: when the time is up."""
    events: int | None = None
    """Accepted events after which the run may end."""
    rate: float = 1000.0
    """Events in a second, of all workers."""
    generation: Generation = "L24"
    backend: Backend = "journal"
    flusher: Flusher = "thread"
    durability: Durability = "process"

    @property
    def has_others_who_can_lead(self) -> bool:
        """Whether a killed leader leaves somebody behind who can take over."""
        return self.flusher != "external" or self.flushers > 1

    @property
    def is_bounded_by_time_alone(self) -> bool:
        return self.kills is None and self.events is None

    def is_reached(self, kills: int, events: int) -> bool:
        """Whether what was asked for is done."""
        return not self.is_bounded_by_time_alone and kills >= (self.kills or 0) and events >= (self.events or 0)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read it back.

        Raises:
            TypeError: it is no plan.
        """
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Strike:
    """One thing that is done to one process."""

    pause: float
    """Seconds before it."""
    victim: Victim | None = None
    """Who gets a signal."""
    signal: Signal | None = None
    choice: int = 0
    """Which of those that there are, modulo their number."""
    seconds: float = 0.0
    """How long it stays stopped."""
    point: str | None = None
    """Instead of a signal: the point at which whoever comes there is killed."""
    chance: float = 1.0
    """Of each coming there, to be the one."""

    def __str__(self) -> str:
        return self.point or f"{self.signal} {self.victim}"


@dataclass(frozen=True, slots=True)
class Round:
    """Some strikes while the server and the disk are in one condition; then all get well, and it is counted."""

    number: int
    faults: str | None
    """What is wrong with the server (see ``trouble``); None: nothing."""
    full_disk: float
    """Seconds for which the disk is full; 0: not at all."""
    hurried: bool
    """Whether strikes follow each other at once; else each new leader is waited for, and timed."""
    strikes: tuple[Strike, ...]

    @property
    def is_plain(self) -> bool:
        """Whether the server and the disk are well, so that what is sent again is so because of kills."""
        return self.faults is None and not self.full_disk

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Round:
        """Read it back.

        Raises:
            TypeError, KeyError: it is no round.
        """
        return cls(**{**value, "strikes": tuple(Strike(**strike) for strike in value["strikes"])})
