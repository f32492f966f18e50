"""Each way to run Python: options, start methods, sub-interpreters. All arrives, and nothing is to be set."""

from __future__ import annotations

import sys
import sysconfig

import pytest

from tests.flusher.deployment import Deployment
from tests.flusher.scene import ROOT, Scene

since_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="Python has it since 3.14")
since_3_15 = pytest.mark.skipif(sys.version_info < (3, 15), reason="Python has it since 3.15")

OPTIONS = [
    "-W error",
    "-W error -X dev",
    "-O",
    "-OO",
    "-E",
    "-I",
    "-S",
    "-I -S",
    "-X importtime",
    "-X utf8=0",
    pytest.param("-X lazy_imports=all", marks=since_3_15),
    pytest.param("-W error -X lazy_imports=all", marks=since_3_15),
    pytest.param("-X lazy_imports=normal", marks=since_3_15),
]

TRACKS = """
import sys
sys.path[:0] = {paths!r}
import os
import threading
import lotus_durable as lotus

lotus.api_key, lotus.host, lotus.queue_dir = "test-key", {host!r}, {queue_dir!r}

def track(name):
    lotus.track_event(customer_id="c", event_name="x", idempotency_id=name)

def fork(then):
    child = os.fork()
    if child == 0:
        then()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

fork(lambda: track("child before the first"))
track("first")
fork(lambda: track("child"))
thread = threading.Thread(target=track, args=("thread",))
thread.start()
thread.join()
os._exit(0)
"""


@pytest.mark.parametrize("options", OPTIONS)
def test_events_of_parents_children_and_threads_arrive_whatever_the_options_of_python(
    scene: Scene, options: str
) -> None:
    script = scene.root / "script.py"
    paths = [str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    script.write_text(TRACKS.format(paths=paths, host=scene.server.host, queue_dir=str(scene.queue_dir)))
    assert scene.finish([sys.executable, *options.split(), str(script)]) == []
    scene.arrived("child before the first", "first", "child", "thread")


def with_settings_in_the_environment(scene: Scene, code: str) -> list[str]:
    """Run a script that tracks by the module's functions, with warnings as errors."""
    script = scene.root / "script.py"
    script.write_text("import lotus_durable as lotus\n" + code)
    return scene.finish(
        [sys.executable, "-W", "error", str(script)],
        LOTUS_API_KEY="test-key",
        LOTUS_HOST=scene.server.host,
        LOTUS_QUEUE_DIR=str(scene.queue_dir),
    )


TRACKS_A_NUMBER = """
def track(number):
    lotus.track_event(customer_id="c", event_name="x", idempotency_id=f"event{number}")

if __name__ == "__main__":
"""


def test_the_default_start_method_delivers_where_the_settings_are_in_the_environment(scene: Scene) -> None:
    """It is fork up to 3.13 and forkserver since 3.14."""
    with_settings_in_the_environment(
        scene,
        TRACKS_A_NUMBER
        + """
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(track, range(6)))
""",
    )
    scene.arrived(*(f"event{number}" for number in range(6)))


@since_3_15
def test_a_flusher_reads_at_its_start_also_what_a_library_imports_when_it_is_first_used(scene: Scene) -> None:
    """A deploy may have replaced it by then."""
    deployment = Deployment(scene.root / "deployment")
    read = deployment.site / "read"
    (deployment.site / "late.py").write_text(f"open({str(read)!r}, 'w').close()\n")
    with (deployment.site / "filelock" / "__init__.py").open("a") as package:
        package.write("\n__lazy_modules__ = ['late']\nimport late\n")
    code = "client = make(); track(client, 'first'); os._exit(0)"
    application = scene.start(code, python=deployment.python, more={"PYTHONPATH": deployment.paths})
    assert application.wait(30) == 0
    scene.arrived("first")
    assert read.exists()


@since_3_14
def test_sub_interpreters_say_that_they_pack_slowly_and_deliver(scene: Scene) -> None:
    said = with_settings_in_the_environment(
        scene,
        """
def track(number):
    import sys
    sys.stderr = sys.stdout
    lotus.track_event(customer_id="c", event_name="x", idempotency_id=f"event{number}", properties={"n": [number]})

if __name__ == "__main__":
    from concurrent.futures import InterpreterPoolExecutor
    with InterpreterPoolExecutor(1) as pool:
        list(pool.map(track, range(6)))
    track("-main")
""",
    )
    assert ["msgpack" in line for line in said] == [True], "once, and by the sub-interpreter"
    scene.arrived("event-main", *(f"event{number}" for number in range(6)))
