"""What a flusher under test runs: the product's own first file, and the named points as soon as there is a package.

Run with ``-I -S`` as that one is; it finds the settings, the locks and the descriptors that a flusher is given.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> None:
    """Become a flusher."""
    sys.path.insert(0, _REPOSITORY)
    from tests.chaos.points import reach, wrap_flusher

    reach("first instruction")
    boot = _boot()
    import_package = boot._import_package

    def import_and_wrap() -> None:
        import_package()
        wrap_flusher()

    boot._import_package = import_and_wrap
    try:
        boot.main()
    except BaseException:  # noqa: BLE001  # as the product's
        boot.fail()


def _boot() -> Any:
    path = os.path.join(_REPOSITORY, "lotus_durable", "flusher", "boot.py")
    spec = importlib.util.spec_from_file_location("boot", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
