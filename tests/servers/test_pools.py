"""Pools whose parent never tracks; those of the standard library are in ``tests/flusher/test_short_lives.py``."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from .site import Site

pytestmark = pytest.mark.servers

POOLS = {
    "loky": "from loky import get_reusable_executor\nlist(get_reusable_executor(max_workers=2).map(track, [3] * 6))",
    "joblib": "from joblib import Parallel, delayed\nParallel(n_jobs=2)(delayed(track)(3) for _ in range(6))",
    "joblib multiprocessing": (
        "from joblib import Parallel, delayed\n"
        "Parallel(n_jobs=2, backend='multiprocessing')(delayed(track)(3) for _ in range(6))"
    ),
}


@pytest.mark.parametrize("pool", POOLS)
def test_the_events_of_a_pool_s_processes_arrive(pool: str, site: Site) -> None:
    needs = pool.split(maxsplit=1)[0]
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    script = site.root / "script.py"
    script.write_text(
        "from tests.servers.apps.tracking import track\n\nif __name__ == '__main__':\n    "
        + POOLS[pool].replace("\n", "\n    ")
    )
    assert site.run([sys.executable, str(script)]).wait_until_ended() == 0
    assert len(site.accepted()) == 18
    site.check(at_least=18)
