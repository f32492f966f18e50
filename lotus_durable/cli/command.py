"""What a command is: its name, its arguments, the options it takes, and its exit codes."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from lotus_durable.config import describe
from lotus_durable.options import environment_name

from .arguments import FILTERS, Argument
from .output import ExitCode

_ENV_FILE_HELP = "a file with lines LOTUS_NAME=value, which win over the environment (default: LOTUS_ENV_FILE, or none)"
_JSON_HELP = 'print the result as one JSON object; an error as {"error": ...}'
_API_KEY_FILE_HELP = "a file that holds the API key, such as a mounted secret (default: LOTUS_API_KEY_FILE, or none)"


@dataclass(frozen=True, slots=True)
class Command:
    """One command; a module of this package makes it and ``entry`` lists it."""

    name: str
    summary: str
    """One line, for the list of commands."""
    description: str
    """What it does, and what ``--json`` prints; shown as written."""
    run: Callable[[argparse.Namespace], ExitCode]
    done: str
    """What its exit code 0 means, and below what the others do; empty: it has none of these."""
    not_complete: str = ""
    wrong_usage: str = "wrong usage or configuration; there is no queue in the directory, or it is unsafe"
    damaged: str = "the queue is damaged, or of a later version"
    arguments: tuple[Argument, ...] = ()
    has_filters: bool = False
    """Whether it takes those that say which events are meant, too."""
    options: tuple[str, ...] = ("queue_dir",)
    """The options it takes from the environment, by their names in Config; empty: none at all."""
    queue_dir_help: str = "the queue directory (default: LOTUS_QUEUE_DIR, or a per-user state directory)"
    reports: bool = True
    """Whether it has a result that ``--json`` prints."""
    examples: str = ""
    """Command lines, shown as written."""
    actions: tuple[Command, ...] = ()
    """Commands below this one, which is what is run without any of them."""

    @property
    def exit_codes(self) -> dict[ExitCode, str]:
        """What each means here."""
        meanings = zip(ExitCode, (self.done, self.not_complete, self.wrong_usage, self.damaged), strict=True)
        return {code: meaning for code, meaning in meanings if meaning}

    def add_to(self, commands: argparse._SubParsersAction[CommandParser]) -> None:
        """Add its parser, with the arguments that every command takes.

        Those have no default here: what was given before an action would be forgotten for the action's default.
        """
        codes = "\n".join(["exit codes:", *(f"  {code:d}  {meaning}" for code, meaning in self.exit_codes.items())])
        parts = [environment_help(self.options), codes]
        if self.examples:
            parts.insert(0, "examples:\n" + "\n".join(f"  {line}" for line in self.examples.strip().splitlines()))
        parser = commands.add_parser(
            self.name,
            help=self.summary,
            description=self.description,
            epilog="\n\n".join(parts),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add = partial(parser.add_argument, default=argparse.SUPPRESS)
        add("--queue-dir", metavar="DIR", help=self.queue_dir_help)
        if self.options:
            add("--env-file", metavar="FILE", help=_ENV_FILE_HELP)
        if "api_key" in self.options:
            add("--api-key-file", metavar="FILE", help=_API_KEY_FILE_HELP)
        if self.reports:
            add("--json", action="store_true", help=_JSON_HELP)
        for argument in self.arguments:
            argument(parser)
        if self.has_filters:
            group = parser.add_argument_group("which events", "those to which all of it applies")
            for argument in FILTERS:
                argument(group)
        if self.actions:
            actions = parser.add_subparsers(title="actions", metavar="ACTION")
            for action in self.actions:
                action.add_to(actions)
        parser.set_defaults(command=self, prog=parser.prog)


class WrongUsage(Exception):
    """The arguments are wrong."""

    def __init__(self, prog: str, message: str) -> None:
        super().__init__(f"{message} (see {prog} --help)")
        self.prog = prog


class CommandParser(argparse.ArgumentParser):
    """A parser that leaves it to the program to say what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(self.prog, message)


def environment_help(options: Sequence[str]) -> str:
    """Return the part of a help text that lists the environment variables of these options."""
    if not options:
        return "environment variables: none is used"
    described = {name: (default, about) for name, default, about in describe()}
    column = max(len(environment_name(option)) for option in options) + 4
    lines = ["environment variables:"]
    for option in options:
        default, about = described[option]
        lines += textwrap.wrap(
            f"{about} (default: {default})" if default else about,
            width=_WIDTH,
            initial_indent=f"  {environment_name(option)}".ljust(column),
            subsequent_indent=" " * column,
        )
    return "\n".join(lines)


_WIDTH = 100
