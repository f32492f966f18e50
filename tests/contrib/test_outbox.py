"""The outbox of docs/transactions.md: a kill loses no event of a committed order, and counts none twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import Rig, rig, rigs  # noqa: F401  # fixtures
from tests.scripts import ROOT, environment

PAGE = (ROOT / "docs" / "transactions.md").read_text()
[EXAMPLE] = re.findall(r"```python\n(import json.*?)order\(1\)\n", PAGE, re.DOTALL)
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
MOMENTS = {
    "in the transaction": ("    with database:  # one", "    database.set_trace_callback(kill_before_commit)\n{}"),
    "between commit and tracking": ("def move_outbox():\n", f"{{}}    {KILL}\n"),
    "between tracking and deleting": ("    with database:\n", f"    {KILL}\n{{}}"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_moment_loses_no_event_of_a_committed_order_and_counts_none_twice(
    rig: Rig,  # noqa: F811
    tmp_path: Path,
    moment: str,
) -> None:
    program = EXAMPLE.replace(":memory:", str(tmp_path / "orders.db"))
    prelude = f"import os, signal\ndef kill_before_commit(sql):\n    if sql == 'COMMIT':\n        {KILL}\n"
    before, after = MOMENTS[moment]
    assert before in program

    def run(code: str) -> int:
        settings = {
            "LOTUS_API_KEY": "test-key",
            "LOTUS_HOST": rig.server.host,
            "LOTUS_QUEUE_DIR": str(rig.queue_dir),
            "LOTUS_FLUSHER": "external",
        }
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment(**settings), timeout=60, check=False).returncode

    killed = prelude + program.replace(before, after.format(before))
    assert run(f"{killed}\norder(1)\nmove_outbox()\n") == -9
    assert run(f"{program}\nmove_outbox()\norder(2)\nmove_outbox()\nprint(lotus.drain(30))") == 0
    orders = [2] if moment == "in the transaction" else [1, 2]
    stored = rig.server.database
    events = [each for each in rig.server.events if each["idempotency_id"] in stored]
    assert sorted(each["properties"]["number"] for each in events) == orders
    assert os.path.exists(tmp_path / "orders.db")
