"""``lotus-durable parked`` and ``dead-letters``: what the server refuses for now, and what it refused for good."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from lotus_durable.errors import ConfigurationError
from lotus_durable.operate import ANY
from lotus_durable.values import NamedTuple

from .arguments import OUTPUT, WAIT, YES, Argument, argument, confirmed, waiting, where, whole_number
from .command import Command
from .events_as_text import KEYS, as_json, as_row, write_lines
from .existing import existing_queue
from .output import ExitCode, aligned, complain, report
from .progress import Progress
from .wording import count

if TYPE_CHECKING:
    from lotus_durable.operate.refused import RefusedEvents
    from lotus_durable.operate.stored import State

_LIMIT = 50
_FILTERED = "Of several filters all must apply."
_DONE = "done, also where there are none"
_NOT_CHANGED = "the flusher does not let go of the queue, or nobody confirmed"
_PAGE = (
    argument("--limit", type=whole_number(), default=_LIMIT, metavar="N", help=f"at most so many (default: {_LIMIT})"),
    argument("--after", type=whole_number(), default=0, metavar="ROW", help="go on behind this row"),
)
_REST = "the others are as they were"
_ALL = argument("--all", action="store_true", help="all of them")


class Refused(NamedTuple):
    """The events in one state, and the command for them."""

    name: str
    """Of the command, and of the page in Django's admin."""
    state: State
    noun: str
    meaning: str

    @property
    def title(self) -> str:
        """Of a page."""
        return f"{self.noun}s".capitalize()

    def command(self) -> Command:
        """Return it."""
        return Command(
            name=self.name,
            summary=f"{self.noun}s: count, list, show, export, retry, purge",
            description=f"{self.meaning}\nWithout an action they are counted, by reason.\n\nkeys of --json:\n"
            "  total          how many there are\n"
            "  reasons        a list of {reason, events}, the most frequent first",
            run=self._count,
            done=_DONE,
            examples=f"lotus-durable {self.name}\nlotus-durable {self.name} --json",
            actions=(
                self._action(
                    "list",
                    self._list,
                    f"List {self.noun}s, oldest first. {_FILTERED}\n\nkeys of --json:\n"
                    "  events         a list of objects, as `show` prints them\n"
                    "  next           what --after is for the events that follow, or null",
                    'list --reason "Customer does not exist" --limit 20\nlist --customer c1 --older-than 7d',
                    *_PAGE,
                ),
                self._action(
                    "show",
                    self._show,
                    f"Show all that is known of {self.noun}s, a JSON object each. {_FILTERED}\n\n{KEYS}",
                    "show --id 5b6c2b1e-7d8e-4f00-9122-33445566aabb",
                    not_complete="there is no such event",
                ),
                self._action(
                    "export",
                    self._export,
                    f"Write {self.noun}s as JSON Lines, and leave them where they are. {_FILTERED} `lotus-durable "
                    f"import` reads\nsuch lines.\n\n{KEYS}",
                    "export --output refused.jsonl\nexport --customer c1 --output c1.jsonl",
                    OUTPUT,
                ),
                self._action(
                    "retry",
                    self._retry,
                    f"Have {self.noun}s tried again, with their ids and times, as if it were for the first time: by "
                    "the flusher that\nruns, or by the next one (`lotus-durable drain` is one). What cannot be read "
                    f"stays. A flusher that runs\npauses for a moment. {_FILTERED}\n\nkeys of --json:\n"
                    "  changed        events that are tried again\n"
                    "  left           events that stay, because nothing of them can be read",
                    "retry --all\nretry --reason timeout",
                    _ALL,
                    WAIT,
                    not_complete=_NOT_CHANGED,
                ),
                self._action(
                    "purge",
                    self._purge,
                    f"Throw {self.noun}s away, after asking; from then on they count as discarded. `export` them "
                    f"before, if in doubt.\nA flusher that runs pauses for a moment. {_FILTERED}\n\nkeys of --json:\n"
                    "  changed        events that are gone",
                    "purge --older-than 90d\npurge --all --yes",
                    _ALL,
                    WAIT,
                    YES,
                    not_complete=_NOT_CHANGED,
                ),
            ),
        )

    def _action(
        self,
        verb: str,
        run: Callable[[argparse.Namespace], ExitCode],
        description: str,
        examples: str,
        *arguments: Argument,
        not_complete: str = "",
    ) -> Command:
        return Command(
            name=verb,
            summary=f"{verb} {self.noun}s",
            description=description,
            run=run,
            done=_DONE,
            not_complete=not_complete,
            arguments=arguments,
            has_filters=True,
            examples="\n".join(f"lotus-durable {self.name} {line}" for line in examples.splitlines()),
        )

    def _selected(self, arguments: argparse.Namespace) -> RefusedEvents:
        from lotus_durable.operate.refused import RefusedEvents  # with SQLite

        config = existing_queue(arguments).config
        return RefusedEvents(config, self.state, where(arguments))

    def _count(self, arguments: argparse.Namespace) -> ExitCode:
        reasons = self._selected(arguments).count_by_reason()
        total = sum(reasons.values())
        listed = [{"reason": reason, "events": events} for reason, events in reasons.items()]
        table = aligned([("", count(events), reason) for reason, events in reasons.items()])
        return report(arguments, {"total": total, "reasons": listed}, count(total, self.noun), *table)

    def _list(self, arguments: argparse.Namespace) -> ExitCode:
        events, following = self._selected(arguments).page(arguments.after, arguments.limit)
        lines = [as_row(event) for event in events]
        if following is not None:
            lines.append(f"… more: --after {following}")
        result = {"events": [as_json(event) for event in events], "next": following}
        return report(arguments, result, *(lines or [f"no {self.noun}s"]))

    def _show(self, arguments: argparse.Namespace) -> ExitCode:
        shown = write_lines(self._selected(arguments), None, indented=not arguments.json)
        if not shown:
            complain(arguments.prog, f"there is no such {self.noun}")
        return ExitCode.DONE if shown else ExitCode.NOT_COMPLETE

    def _export(self, arguments: argparse.Namespace) -> ExitCode:
        with Progress("written") as progress:
            written = write_lines(self._selected(arguments), arguments.output, watch=progress.show)
        if arguments.output is not None:
            words = f"{count(written, self.noun)} written to {arguments.output}"
            report(arguments, {"written": written}, words)
        return ExitCode.DONE

    def _retry(self, arguments: argparse.Namespace) -> ExitCode:
        events = self._meant(arguments)
        with Progress("put back", if_interrupted=_REST) as progress:
            result = events.retry(waiting=waiting(arguments), watch=progress.show)
        left = f"; {count(result.left)} left: nothing of them can be read" if result.left else ""
        words = f"{count(result.changed, self.noun)} tried again by whoever flushes{left}"
        return report(arguments, {"changed": result.changed, "left": result.left}, words)

    def _purge(self, arguments: argparse.Namespace) -> ExitCode:
        events = self._meant(arguments)
        if not arguments.yes:
            number, events = events.as_of_now()
            if number and not confirmed(arguments, f"Throw {count(number, self.noun)} away, for good?"):
                complain(arguments.prog, "nothing was purged")
                return ExitCode.NOT_COMPLETE
        with Progress("purged", if_interrupted=_REST) as progress:
            result = events.purge(waiting=waiting(arguments), watch=progress.show)
        words = f"{count(result.changed, self.noun)} purged; they count as discarded"
        return report(arguments, {"changed": result.changed}, words)

    def _meant(self, arguments: argparse.Namespace) -> RefusedEvents:
        if (where(arguments) == ANY) != arguments.all:
            raise ConfigurationError("say which events are meant: by a filter, or all of them by --all")
        return self._selected(arguments)


_DEAD_LETTERS = """\
Dead letters are events that the server refused for good, and what of a damaged segment cannot be read. They are
kept until somebody puts them back or throws them away."""
_PARKED = """\
Parked events are refused for now, as when their customer does not exist. They are tried again by themselves,
and are dead letters after some days."""

KINDS = {
    "dead-letters": Refused("dead-letters", "dead_letter", "dead letter", _DEAD_LETTERS),
    "parked": Refused("parked", "parked", "parked event", _PARKED),
}
COMMANDS = tuple(kind.command() for kind in KINDS.values())
