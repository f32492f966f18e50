"""What a command is: its name, its arguments, the options it takes, and its exit codes."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from lotus_durable.config import Config, describe
from lotus_durable.errors import ConfigurationError
from lotus_durable.options import environment_name
from lotus_durable.values import NamedTuple

from .arguments import FILTERS, Argument
from .env_file import Environment, environment
from .output import ExitCode

_ENV_FILE_HELP = "a file with lines LOTUS_NAME=value, which win over the environment (default: LOTUS_ENV_FILE, or none)"
_API_KEY_FILE_HELP = "a file that holds the API key, such as a mounted secret (default: LOTUS_API_KEY_FILE, or none)"

DEFAULT_DIRECTORY = "the default of this user"
"""Where a queue directory comes from that nobody named."""


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

    def add_to(self, commands: argparse._SubParsersAction[CommandParser], *, is_action: bool = False) -> None:
        """Add its parser, with the arguments that every command takes."""
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
            # What was given before the action is not to be forgotten for the action's default.
            argument_default=argparse.SUPPRESS if is_action else None,
        )
        parser.add_argument("--queue-dir", metavar="DIR", help=self.queue_dir_help)
        if self.options:
            parser.add_argument("--env-file", metavar="FILE", help=_ENV_FILE_HELP)
        if "api_key" in self.options:
            parser.add_argument("--api-key-file", metavar="FILE", help=_API_KEY_FILE_HELP)
        if self.reports:
            parser.add_argument(
                "--json",
                action="store_true",
                default=argparse.SUPPRESS if is_action else False,
                help='print the result as one JSON object; an error as {"error": ...}',
            )
        for argument in self.arguments:
            argument.add_to(parser)
        if self.has_filters:
            group = parser.add_argument_group("which events", "those to which all of it applies")
            for argument in FILTERS:
                argument.add_to(group)
        if self.actions:
            actions = parser.add_subparsers(title="actions", metavar="ACTION")
            for action in self.actions:
                action.add_to(actions, is_action=True)
        parser.set_defaults(command=self, prog=parser.prog)


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors here are."""

    message: ClassVar[str] = ""
    """The last error of any of them."""

    def error(self, message: str) -> NoReturn:
        CommandParser.message = message
        self.exit(ExitCode.WRONG_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class Configured(NamedTuple):
    """The configuration of a command: its arguments, the environment file, the environment, the defaults."""

    config: Config
    environment: Environment
    directory_source: str
    """Where its queue directory comes from."""


def configured(arguments: argparse.Namespace) -> Configured:
    """Return the configuration of a command. Each call reads the files again, which a pipe may not bear.

    Raises:
        ConfigurationError: an option is wrong, or a file cannot be read.
    """
    given = {"queue_dir": arguments.queue_dir, "api_key_file": getattr(arguments, "api_key_file", None)}
    around = environment(arguments.env_file)
    variable = environment_name("queue_dir")
    source = "$STATE_DIRECTORY" if os.environ.get("STATE_DIRECTORY") else DEFAULT_DIRECTORY
    if arguments.queue_dir is not None or around.get(variable):
        source = variable if arguments.queue_dir is None else "--queue-dir"
    try:
        return Configured(Config.resolve(given, environ=around), around, source)
    except ConfigurationError as error:
        place = around.places.get(str(error).partition(":")[0])
        if place is None:
            raise
        raise type(error)(f"{place}: {error}") from None


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
