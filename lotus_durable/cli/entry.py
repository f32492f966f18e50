"""From arguments to an exit code: finds the command, runs it, and says in one line what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO

from lotus_durable._version import __version__
from lotus_durable.disk import DatabaseDamaged
from lotus_durable.errors import ConfigurationError, LotusError, QueueDamaged, QueueDirectoryError, QueueInUse
from lotus_durable.options import environment_name

from . import (
    adopt,
    backup,
    checking,
    demo,
    doctor,
    drain,
    erase,
    export,
    flusher,
    health,
    import_,
    refused_events,
    relay,
    status,
    stop,
    verify,
)
from .command import CommandParser, WrongUsage
from .existing import as_its_owner
from .output import ExitCode, OutputRefused, complain, flush, have_standard_streams, say_json

_COMMANDS = (
    demo.COMMAND,
    status.COMMAND,
    health.COMMAND,
    doctor.COMMAND,
    drain.COMMAND,
    flusher.COMMAND,
    relay.COMMAND,
    stop.COMMAND,
    *refused_events.COMMANDS,
    checking.CHECK,
    checking.REPAIR,
    export.COMMAND,
    import_.COMMAND,
    backup.COMMAND,
    erase.COMMAND,
    verify.COMMAND,
    adopt.COMMAND,
)

_KEYS = ("--api-key", "--api_key", "--apikey")
_SIGNALLED = 128  # what a shell adds to the number of the signal that ended a program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see :class:`~.command.ExitCode`.

    Args:
        arguments: without the program's name; those of this process if not given.
    """
    have_standard_streams()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            flush()
    except OutputRefused as error:
        _stop_writing(sys.stdout)
        complain("lotus-durable", f"{error}; what the command does to a queue is done")
        return int(ExitCode.NOT_COMPLETE)
    except BrokenPipeError:
        # Whoever read our output has enough of it (`| head`): end as quietly as other programs do.
        _stop_writing(sys.stdout, sys.stderr)
        return _SIGNALLED + signal.SIGPIPE


def _run(arguments: Sequence[str]) -> int:
    options = argparse.Namespace(
        given=arguments, prog="lotus-durable", queue_dir=None, env_file=None, api_key_file=None, json=False
    )
    try:
        if any(each.partition("=")[0] in _KEYS for each in arguments):
            raise ConfigurationError(
                "a key in the arguments is for every user of this machine to read: use --api-key-file"
            )
        parser(arguments[0] if arguments else "").parse_args(arguments, options)
        return int(options.command.run(options))
    except (BrokenPipeError, OutputRefused):
        raise
    except WrongUsage as error:
        options.prog = error.prog
        code, message = int(ExitCode.WRONG_USAGE), str(error)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # a person gets a sentence, whatever it is
        code, message = _in_words(error, options)
    complain(options.prog, message)
    if "--json" in arguments:
        say_json({"error": message})
    return code


def _in_words(error: BaseException, options: argparse.Namespace) -> tuple[int, str]:
    """Return the exit code for what went wrong, and a sentence."""
    code, words = int(ExitCode.WRONG_USAGE), str(error)
    match error:
        case KeyboardInterrupt():
            code, words = _SIGNALLED + signal.SIGINT, f"interrupted{error}"
        case QueueDamaged() | DatabaseDamaged():
            code = ExitCode.DAMAGED
        case QueueInUse():
            code = ExitCode.NOT_COMPLETE
        case QueueDirectoryError():
            words += as_its_owner(options)
        case LotusError() | OSError(strerror=None):
            pass
        case OSError(strerror=str(what), filename=file):  # without the number that Python puts before it
            words = what if file is None else f"{file}: {what}"
        case _:
            if os.environ.get(environment_name("debug")):
                traceback.print_exception(error)
            code = ExitCode.NOT_COMPLETE
            words = f"a defect of this program ({type(error).__name__}: {error}); LOTUS_DEBUG=1 shows where"
    return code, words


def parser(name: str = "") -> CommandParser:
    """Return the parser of the command of this name, or of all commands where there is none of that name.

    That of all takes longer to make than many a command to run. shtab makes completion scripts of it.
    """
    all_commands = CommandParser(
        prog="lotus-durable",
        description="Usage events for Lotus that survive crashes: look at the queue, empty it, flush it.",
        epilog="Each command has its own --help, with the environment variables it uses and its exit codes.",
    )
    all_commands.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = all_commands.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in [each for each in _COMMANDS if each.name == name] or _COMMANDS:
        command.add_to(commands)
    return all_commands


def _stop_writing(*streams: TextIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter complains about the pipe once more as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
