"""What Django's admin and its permissions need to know a page by."""

from __future__ import annotations

from django.db import models


class Queue(models.Model):  # type: ignore[misc]  # Django has no types
    """The queue of usage events: it has no table and no rows; see :mod:`.admin`."""

    class Meta:
        """Who may do what."""

        managed = False
        default_permissions: tuple[str, ...] = ()
        permissions: tuple[tuple[str, str], ...] = (
            ("view_queue", "Can look at the queue of usage events"),
            ("change_queue", "Can put refused usage events back"),
            ("delete_queue", "Can purge refused usage events"),
        )
        verbose_name = "queue"
        verbose_name_plural = "queue"
