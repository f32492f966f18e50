"""What is measured: each subject accepts the same event, an API call with two properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Track = Callable[[int], object]
"""Accept one event; the number makes it a little different from others. ``False``: it was refused, or dropped."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a subject works."""

    server: str
    """URL of the sink."""
    directory: Path
    """Of its own, or shared by the workers of one run; exists."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that accepts events.

    Attributes:
        name: for JSON and the command line.
        opener: ``module:function`` that takes a :class:`Place` and returns a :data:`Track`; imported in a child.
        survives: what an event survives once the call has returned.
        needs: the module that must be there, or None.
        environment: whose Python runs it.
    """

    name: str
    label: str
    opener: str
    survives: Literal["nothing", "kill", "power cut"]
    options: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None
    environment: Literal["own", "lotus-python", "beside"] = "own"


NOTHING = Subject("nothing", "nothing", "benchmarks.subjects.floor:opened_for_nothing", "nothing")
FLOOR = Subject("floor", "floor: msgpack + os.write", "benchmarks.subjects.floor:opened", "kill")
FLOOR_POWER = Subject(
    "floor_power", "floor: os.write + fdatasync", "benchmarks.subjects.floor:opened_with_sync", "power cut"
)
DURABLE = Subject("durable", "lotus_durable", "benchmarks.subjects.ours:opened", "kill")
DURABLE_EXTERNAL = Subject(
    "durable_external",
    "lotus_durable, flusher external",
    "benchmarks.subjects.ours:opened",
    "kill",
    {"flusher": "external"},
)
DURABLE_BESIDE = Subject(
    "durable_beside", "lotus_durable, the build beside", "benchmarks.subjects.ours:opened", "kill", environment="beside"
)
DJANGO = Subject("django", "a view of Django", "benchmarks.subjects.django_view:opened", "kill", needs="django")
DJANGO_EXTERNAL = Subject(
    "django_external",
    "a view of Django, flusher external",
    "benchmarks.subjects.django_view:opened",
    "kill",
    {"flusher": "external"},
    needs="django",
)
DURABLE_SLOW_SYNC = Subject(
    "durable_slow_sync",
    "lotus_durable, durability power, a sync takes 5 ms",
    "benchmarks.subjects.ours:opened_with_slow_sync",
    "power cut",
    {"durability": "power", "flusher": "external"},
)
DURABLE_POWER = Subject(
    "durable_power",
    "lotus_durable, durability power",
    "benchmarks.subjects.ours:opened",
    "power cut",
    {"durability": "power", "flusher": "external"},
)
DURABLE_SQLITE = Subject(
    "durable_sqlite",
    "lotus_durable, backend sqlite",
    "benchmarks.subjects.ours:opened",
    "kill",
    {"backend": "sqlite", "flusher": "external"},
)
DURABLE_SQLITE_POWER = Subject(
    "durable_sqlite_power",
    "lotus_durable, backend sqlite, power",
    "benchmarks.subjects.ours:opened",
    "power cut",
    {"backend": "sqlite", "durability": "power", "flusher": "external"},
)
LOTUS_PYTHON = Subject(
    "lotus_python",
    "lotus-python track_event",
    "benchmarks.subjects.rivals:lotus_python",
    "nothing",
    environment="lotus-python",
)
SEGMENT = Subject(
    "segment", "segment track", "benchmarks.subjects.rivals:segment", "nothing", needs="segment.analytics"
)
POSTHOG = Subject("posthog", "posthog capture", "benchmarks.subjects.rivals:posthog", "nothing", needs="posthog")
OPENTELEMETRY = Subject(
    "opentelemetry",
    "OpenTelemetry span, batch",
    "benchmarks.subjects.rivals:opentelemetry",
    "nothing",
    needs="opentelemetry.sdk",
)
LITEQUEUE = Subject("litequeue", "litequeue put", "benchmarks.subjects.rivals:litequeue", "kill", needs="litequeue")
PERSIST_QUEUE = Subject(
    "persist_queue",
    "persist-queue, NORMAL",
    "benchmarks.subjects.rivals:persist_queue",
    "kill",
    {"synchronous": "NORMAL"},
)
PERSIST_QUEUE_FULL = Subject(
    "persist_queue_full",
    "persist-queue, FULL",
    "benchmarks.subjects.rivals:persist_queue",
    "power cut",
    {"synchronous": "FULL"},
)
