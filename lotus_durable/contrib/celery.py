"""Celery: let go of the queue when a worker process is recycled, and drain when the worker shuts down.

Importing it is all::

    app.conf.imports = ["lotus_durable.contrib.celery"]  # or: celery worker --include lotus_durable.contrib.celery

A process of the pool that ends in order (``max_tasks_per_child``, a shutdown) ends its request in flight first, so that
nothing is sent twice. When the worker shuts down and the pool is gone, its main process has what is pending delivered,
for ``exit_timeout`` seconds at the most.

It is not needed for safety: whatever happens to a worker, what was tracked is on disk, and another process uploads it.
"""

from __future__ import annotations

from celery import signals  # type: ignore[import-untyped]

from lotus_durable.leaving import drain_default, release_all


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def release(**_: object) -> None:
    """Let go of the queue, in a process of the pool that ends."""
    release_all()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def drain(**_: object) -> None:
    """Drain, in the worker's main process, when the pool is gone."""
    drain_default()
