"""What comes of a command: results on standard output, errors and progress on standard error, and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import TextIO


class ExitCode(IntEnum):
    """How a command ends; the same for all of them, and each command's help says what it means there."""

    DONE = 0
    NOT_COMPLETE = 1
    """Events remain."""
    WRONG_USAGE = 2
    """Or a wrong configuration, or a directory that cannot be used."""
    DAMAGED = 3
    """The queue holds something that cannot be read."""


class OutputRefused(Exception):
    """Standard output takes no writes; what the command did is done."""


def say(text: str) -> None:
    """Write a result, or a part of it, to standard output.

    Raises:
        OutputRefused: it takes none.
        BrokenPipeError: nobody reads it any more.
    """
    with written():
        sys.stdout.write(f"{text}\n")


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Tell errors of standard output from those of the queue's disk."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputRefused(f"standard output takes no writes: {error.strerror}") from error


def flush() -> None:
    """Write out what is buffered; raises what :func:`say` raises."""
    with written():
        sys.stdout.flush()


def have_standard_streams() -> None:
    """Open what is closed of the three standard streams, on nothing: else the next file would be taken for one.

    What an encoding lacks is written as an escape: the id of a customer, the name of a directory.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # for as long as the program runs
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say_json(result: Mapping[str, object]) -> None:
    """Write a result as one JSON object on one line."""
    say(json.dumps(result))


def report(
    arguments: argparse.Namespace, result: Mapping[str, object], *lines: str, code: ExitCode = ExitCode.DONE
) -> ExitCode:
    """Write what a command came to, as one object with ``--json``, else these lines; return its exit code."""
    for line in [json.dumps(result)] if arguments.json else map(plain, lines):
        say(line)
    return code


def plain(text: str) -> str:
    """Return a text as one line that cannot tell a terminal anything: what is in it may be somebody else's."""
    return "".join(each if each.isprintable() else " " for each in text)


def complain(name: str, message: str) -> None:
    """Write one line to standard error."""
    with contextlib.suppress(OutputRefused):
        flush()
    tell(f"{name}: {' '.join(message.split())}")


def tell(line: str, *, end: str = "\n") -> None:
    """Write a line to standard error; on a terminal in the place of one that was not ended."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it any more
        shown = "\n".join(map(plain, line.split("\n")))
        sys.stderr.write(f"{_CLEAR if is_terminal(sys.stderr) else ''}{shown}{end}")
        sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody sees what is written there as it comes."""
    try:
        return stream.isatty()
    except (ValueError, AttributeError):
        return False  # it is closed


_CLEAR = "\r\x1b[K"
"""Empties the line of a terminal."""


def aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return lines of (name, figure, remark) with the figures right-aligned in a column."""
    name_width = max((len(name) for name, _, _ in rows), default=0)
    figure_width = max((len(figure) for _, figure, _ in rows), default=0)
    return [f"{name:<{name_width}}  {figure:>{figure_width}}  {remark}".rstrip() for name, figure, remark in rows]
