"""The first lines that a flusher runs: where it finds its modules, and nothing else. Standard library only.

Run as a file by an interpreter with ``-I -S``: neither the environment nor the working directory nor a ``site`` decides
what is imported, only the settings do. Versions before and after this one must understand it.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings

_SETTINGS = 3
_END_OF_SETTINGS = b"\0"
_READ = 1 << 16
_COMMAND = "lotus-flusher"
_WITHOUT = ("persistqueue.async_queue", "charset_normalizer", "chardet")
"""What the libraries import where it is there, and do without where it is not: no program could tell here. It is, with
asyncio, a sixth of all that a flusher would import, and 4 MB."""


def main() -> None:
    """Become a flusher."""
    user, group = os.geteuid(), os.getegid()
    if (os.getuid(), os.getgid()) != (user, group):
        # For good the user that the program acts as. And anew, or the kernel would hide of /proc what is our own.
        os.setregid(group, group)
        os.setreuid(user, user)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # which would undo it
    gc.disable()  # until all is imported, which only makes what stays: that alone is a tenth of the time
    if sys.argv[1] == "--fork":  # there is no shell to do it
        if os.fork():
            os._exit(0)
        del sys.argv[1]
    try:
        with open("/proc/self/comm", "w") as name:  # the name in ps; the shell's was the shell's
            name.write(_COMMAND)
    except OSError:
        pass
    given = b""
    while not given.endswith(_END_OF_SETTINGS) and (chunk := os.read(_SETTINGS, _READ)):
        given += chunk
    os.close(_SETTINGS)
    import ast

    settings = ast.literal_eval(given.removesuffix(_END_OF_SETTINGS).decode())
    _find_modules([os.fsdecode(path) for path in settings["paths"]])
    _import_package()
    for absent in _WITHOUT:  # who imports one of them is told that there is none
        sys.modules[absent] = None  # type: ignore[assignment]
    with warnings.catch_warnings(action="ignore"):  # requests warns of it
        try:
            from lotus_durable.flusher.program import main as run
        except ImportError:
            # An editable install is found by what a .pth file does, which site runs. Or a library needs by now what it
            # has done without.
            import site

            site.main()
            for absent in _WITHOUT:
                sys.modules.pop(absent, None)
            from lotus_durable.flusher.program import main as run
    run(settings)


def fail() -> None:
    """Leave the reason where the next look finds it. The status is 0: some servers end by another one of a child."""
    import traceback

    traceback.print_exc()
    sys.stderr.flush()
    os._exit(0)


def _find_modules(paths: list[str]) -> None:
    """Look in the standard library, then in site-packages, and only then where the application lies.

    An application's folder may hold a ``requests.py`` of its own.
    """
    installed = [path for path in paths if os.path.basename(path) in ("site-packages", "dist-packages")]
    others = [path for path in paths if path not in installed]
    for path in (*installed, *others):
        if path not in sys.path:
            sys.path.append(path)


def _import_package() -> None:
    """Find the modules of the package that this file belongs to, whatever else of its name can be found.

    Its face, which is for applications, is not run.
    """
    import importlib.util

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(
        "lotus_durable", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lotus_durable"] = module


if __name__ == "__main__":
    try:
        main()
    except BaseException:  # noqa: BLE001  # whatever it is, it is told
        fail()
