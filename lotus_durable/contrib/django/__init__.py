"""Django: options from the project's settings, ``manage.py lotus_drain``, a check, on_commit, pages of the admin.

::

    INSTALLED_APPS = [..., "lotus_durable.contrib.django"]
    LOTUS = {"API_KEY": "YOUR API KEY", "QUEUE_DIR": BASE_DIR / "lotus"}

An option may also be a setting of its own (``LOTUS_API_KEY``); in ``LOTUS`` it wins. Both win over the environment.
Names are those of :class:`lotus_durable.config.Config`, in upper or lower case; ``ON_ERROR`` may be a dotted path.

:func:`track_on_commit` works with and without the application.
"""

from .on_commit import track_on_commit

__all__ = ["track_on_commit"]
