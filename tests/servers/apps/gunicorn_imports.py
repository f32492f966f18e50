"""A gunicorn configuration that imports what workers will, in the master.

For workers of another user, who may have no right to read the interpreter's own files (one below ``/root``, say).
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import gunicorn.workers.sync  # type: ignore[import-untyped]  # noqa: F401  # as above

import lotus_durable
from lotus_durable.imports import import_for_delivery

import_for_delivery()
for module in pkgutil.walk_packages(lotus_durable.__path__, "lotus_durable."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
