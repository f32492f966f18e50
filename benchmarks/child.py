"""A function of ours in a fresh process: for what can only be measured once, such as memory or a first opening."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from typing import Any

from benchmarks.surroundings import environment

_TIMEOUT = 900  # seconds; ten thousand processes one after the other, on a busy machine


def in_child(function: str, *arguments: str) -> Any:  # noqa: ANN401  # JSON
    """Call ``module:function`` with these strings in a new process and return its JSON value.

    Raises:
        subprocess.SubprocessError: it failed, or took more than five minutes.
    """
    command = [sys.executable, "-m", "benchmarks.child", function, *arguments]
    done = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, timeout=_TIMEOUT)
    return json.loads(done.stdout)


def main() -> None:
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(getattr(import_module(module), function)(*sys.argv[2:])))


if __name__ == "__main__":
    main()
