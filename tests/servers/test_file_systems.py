"""A queue on each file system that is supported, mounted for the test: locks, renames, syncs and SQLite work there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lotus_durable.testing import Delay
from tests.flusher.scene import Scene, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")]

SIZE = 512 << 20
MAKES = {"ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Return a function that takes the arguments of ``mount``, the place last; all are unmounted after the test."""
    with ExitStack() as stack:

        def mount(*words: str) -> None:
            done = subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"it cannot be mounted here: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "--lazy", words[-1]], check=True)

        yield mount


@pytest.fixture(params=[*MAKES, "overlay", "tmpfs"])
def disk(request: pytest.FixtureRequest, mount: Callable[..., None], tmp_path: Path) -> Path:
    kind, place, below = request.param, tmp_path / "disk", tmp_path / "below"
    place.mkdir()
    if kind in MAKES:
        if shutil.which(MAKES[kind][0]) is None:
            pytest.skip(f"{MAKES[kind][0]} is not installed")
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([*MAKES[kind], str(image)], check=True, capture_output=True)
        mount("-o", "loop", str(image), str(place))
    elif kind == "overlay":
        # A container's own: what it writes lies above an image. Here on a tmpfs: an overlay cannot lie on another one.
        below.mkdir()
        mount("-t", "tmpfs", "tmpfs", str(below))
        layers = {"lowerdir": below / "image", "upperdir": below / "written", "workdir": below / "work"}
        for each in layers.values():
            each.mkdir()
        options = ",".join(f"{name}={path}" for name, path in layers.items())
        mount("-t", "overlay", "-o", options, "overlay", str(place))
    else:
        mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    return place


@pytest.mark.parametrize("options", ["", "durability='power'", "backend='sqlite'"])
def test_all_arrives_from_a_queue_on_it_also_when_the_flusher_and_those_that_track_are_killed(
    disk: Path, options: str
) -> None:
    with ExitStack() as stack:
        scene = stack.enter_context(Scene(disk / "scene"))
        code = f"""
        client = make({options})
        for number in range(20):
            track(client, f"{{sys.argv[1]}}-{{number}}")
        os.kill(os.getpid(), 9)
        """
        scene.server.fail_next(None, Delay(30.0))
        kills: list[Callable[[], object]] = [scene.kill_flusher, lambda: None]
        for run, kill in enumerate(kills):
            assert scene.start(code, run).wait(30) == -9
            if run == 0:
                wait_until(lambda: scene.server.request_count > 1, "a request in flight")
            kill()
        ids = [f"{run}-{number}" for run in range(len(kills)) for number in range(20)]
        scene.arrived(*ids, timeout=30.0)
        wait_until(lambda: (beat := scene.beat()) is not None and beat.state == "idle", "it to be settled")
        assert not list(Path(scene.directory.quarantine).iterdir())
