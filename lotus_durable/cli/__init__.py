"""The command line: ``lotus-durable`` and ``python -m lotus_durable``.

``entry`` reads the arguments and turns errors into exit codes, ``command`` says what a command is, and each command
(or group of them) is a module that defines one: to add a command, write the module and name it in ``entry``.
"""

from __future__ import annotations

from .entry import main

__all__ = ["main"]
