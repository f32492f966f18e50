"""What the pages of the admin show; :mod:`.admin` has the pages, and says so where the queue cannot be read."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django import forms

from lotus_durable.cli.arguments import seconds
from lotus_durable.cli.health import problems_of
from lotus_durable.cli.refused_events import KINDS
from lotus_durable.cli.status import flusher_in_words
from lotus_durable.cli.wording import count, duration, size
from lotus_durable.config import Config
from lotus_durable.flusher.early_warning import of_age, of_room
from lotus_durable.operate import Where
from lotus_durable.operate.overview import Overview, overview
from lotus_durable.operate.refused import RefusedEvents

_PAGE = 100
_MOST_COUNTED = 20_000
"""Events that are read to count them by reason: a page must come soon."""
_SHOWN_REASONS = 20


class _Age(forms.CharField):  # type: ignore[misc]  # Django has no types
    """A time such as 12h or 7d, in seconds."""

    def clean(self, value: str) -> float | None:
        try:
            return seconds(value) if value else None
        except argparse.ArgumentTypeError as error:
            raise forms.ValidationError(str(error)) from None


class FilterForm(forms.Form):  # type: ignore[misc]  # Django has no types
    """Which events are meant, as ``lotus-durable dead-letters --help`` has it."""

    reason: Any = forms.CharField(required=False, label="Reason holds")
    customer_id: Any = forms.CharField(required=False, label="Customer")
    event_name: Any = forms.CharField(required=False, label="Event name")
    id: Any = forms.CharField(required=False, label="Idempotency id")
    older_than: Any = _Age(required=False, label="Older than")
    newer_than: Any = _Age(required=False, label="Newer than")

    @property
    def where(self) -> Where:
        """The filter; of a field that is wrong, none."""
        self.is_valid()
        given = {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}
        ids = given.pop("id", None)
        return Where(**given, ids=None if ids is None else [ids])

    def given(self) -> dict[str, str]:
        """Return what was typed, field by field."""
        return {name: self.data[name] for name in self.fields if self.data.get(name)}

    def as_query(self) -> str:
        """Return it for a URL."""
        return urlencode(self.given())


def health(config: Config) -> dict[str, Any]:
    """Return how the queue is."""
    found = overview(config)
    stats = found.stats
    reasons = {kind: _by_reason(RefusedEvents(config, names.state)) for kind, names in KINDS.items()}
    return {
        "queue_dir": config.queue_dir,
        "problems": problems_of(stats, config),
        "warnings": _warnings(found),
        "sum": [
            ("accepted", stats.accepted, ""),
            ("delivered", stats.delivered, ""),
            *([("handed over", stats.handed_over, "")] if stats.handed_over else []),
            ("pending", stats.pending, ""),
            ("parked", stats.parked, "parked"),
            ("dead letters", stats.dead_lettered, "dead-letters"),
            ("purged", stats.discarded, ""),
        ],
        "flusher": stats.flusher,
        "flusher_in_words": flusher_in_words(stats.flusher),
        "details": _details(found),
        "reasons": [(KINDS[kind], rows, total) for kind, (rows, total) in reasons.items()],
        "most_counted": _MOST_COUNTED,
    }


def _details(found: Overview) -> Iterator[tuple[str, str]]:
    stats, room = found.stats, found.condition
    if stats.oldest_age is not None:
        yield "Waiting longest", duration(stats.oldest_age)
    if stats.flusher is not None and stats.flusher.rate:
        yield "Rate", f"{stats.flusher.rate:,.1f} events a second"
    if found.ends_in is not None:
        yield "Done in", duration(found.ends_in)
    yield "Queue", f"{size(room.used_bytes)} of {size(found.limit_bytes)} (max_queue_bytes)"
    yield "Disk", f"{size(room.disk_left)} left for events"


def _by_reason(events: RefusedEvents) -> tuple[list[tuple[str, int]], int]:
    counts = Counter(each.reason for each in islice(events, _MOST_COUNTED))
    return counts.most_common(_SHOWN_REASONS), counts.total()


def _warnings(found: Overview) -> list[str]:
    """Return what is no trouble yet, or none of delivery."""
    stats, room = found.stats, found.condition
    said = [text for _, text in (*of_room(room, found.limit_bytes), *of_age(stats))]
    if found.in_memory:
        said.append(f"{count(found.in_memory, 'event')} in the memory of programs: the disk takes no writes")
    if found.parked_for_future:
        said.append(
            f"{count(found.parked_for_future, 'event')} parked for the future: is a clock, or a time zone, wrong?"
        )
    if stats.dead_lettered:
        said.append(f"{count(stats.dead_lettered, 'event')} refused for good: mend the cause, and put them back")
    if room.quarantine_files:
        said.append(f"damaged bytes are kept for you: {count(room.quarantine_files, 'file')} in quarantine/")
    return said


def refused(events: RefusedEvents, query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of refused events."""
    after = query.get("after", "")
    page, following = events.page(int(after) if after.isdecimal() else 0, _PAGE)
    return {"events": page, "following": following, "is_first": not after}


def event(events: RefusedEvents, row: int) -> dict[str, Any]:
    """Return one event, whole; nothing where it is there no more."""
    page, _ = events.page(row - 1, 1)
    if not page or page[0].row != row:
        return {}
    found = page[0].event
    properties = found and json.dumps(found.properties, indent=2, ensure_ascii=False, default=str)
    return {"stored": page[0], "properties": properties}


def purge(events: RefusedEvents, form: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is about to be purged, and the fields by which it is meant."""
    first = list(islice(events, _MOST_COUNTED + 1))
    meant = first[:_MOST_COUNTED]
    fields = [(name, value) for name, value in FilterForm(form).given().items()]
    fields += [("event", each) for each in form.getlist("event")]  # type: ignore[attr-defined]  # a QueryDict
    fields.append(("which", form.get("which", "")))
    if meant:
        fields.append(("up_to", str(meant[-1].row)))  # what is refused while a person reads the page is not meant
    number = count(len(meant), "event")
    return {
        "number": number if len(first) == len(meant) else f"the first {number}",
        "events": meant[:10],
        "more": len(meant) > 10,  # noqa: PLR2004
        "fields": fields,
    }
