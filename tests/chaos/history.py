"""The history of a run, as JSON lines: the plan, each round before it is played, and what came of each strike.

A replay takes the plan and the rounds from it and plays them again; what happens in between is the machine's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .plan import Plan, Round


class History:
    """Writes one; each line is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._started = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def plan(self, plan: Plan) -> None:
        """The first line."""
        self._write("plan", plan.as_json())

    def begins(self, round_: Round) -> None:
        """Note a round before it is played."""
        self._write("round", round_.as_json())

    def note(self, what: str, **details: Any) -> None:
        """Note what happened."""
        self._write("note", {"at": round(time.monotonic() - self._started, 3), "what": what, **details})

    def _write(self, kind: str, value: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({kind: value}) + "\n")
        self._file.flush()


def read_history(path: Path) -> tuple[Plan, list[Round]]:
    """Return the plan and the rounds of a run.

    Raises:
        ValueError: it is no history; names the line.
        OSError: it cannot be read.
    """
    plan: Plan | None = None
    rounds: list[Round] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            if "plan" in entry:
                plan = Plan.from_json(entry["plan"])
            elif "round" in entry:
                rounds.append(Round.from_json(entry["round"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if plan is None:
        raise ValueError(f"{path}: there is no plan in it")
    return plan, rounds
