"""Django: options from the project's settings, ``manage.py lotus_drain``, and a check of the configuration.

::

    INSTALLED_APPS = [..., "lotus_durable.contrib.django"]
    LOTUS = {"API_KEY": "YOUR API KEY", "QUEUE_DIR": BASE_DIR / "lotus"}

An option may also be a setting of its own (``LOTUS_API_KEY``); in ``LOTUS`` it wins. Both win over the environment.
Names are those of :class:`lotus_durable.config.Config`, in upper or lower case; ``ON_ERROR`` may be a dotted path.
"""
