"""Forking at every wrong moment, without a web server around it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .kinds import program
from .oracle import has_everything, judge
from .running import Running
from .site import Site

Run = Callable[..., Running]


@pytest.mark.parametrize("thread", ["main", "other"])
@pytest.mark.parametrize("module", ["lotus_durable.client", "filelock", "requests", "persistqueue"])
def test_a_fork_amid_an_import_leaves_a_child_that_works(site: Site, run: Run, module: str, thread: str) -> None:
    running = run(program("fork_amid_import", module, thread))
    running.wait_until_ended()
    assert has_everything(site), "the child did not deliver what its parent left"
    judge(site).check()


def test_a_fork_that_cannot_wait_for_an_import_leaves_a_child_that_says_so(site: Site, run: Run) -> None:
    # By now filelock's fork hooks are there: the rest of its import waits for the fork, and the fork for the import.
    running = run(program("fork_amid_import", "filelock._windows", "other"))
    running.wait_until_ended()
    log = site.log.read_text()
    assert "does not upload: it was forked while its parent was importing" in log
    assert "DeliveryBlocked: a drain needs another process" in log
    judge(site).check()
