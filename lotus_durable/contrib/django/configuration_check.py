"""A system check: ``manage.py check`` and the start of a server say what is wrong with the configuration."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's name for it

from lotus_durable.config import Config
from lotus_durable.errors import ConfigurationError
from lotus_durable.queue.directory import QueueDirectory

from .options import given


def check_configuration(**_: Any) -> list[CheckMessage]:  # noqa: ANN401  # what Django passes
    """Return what is wrong with the options, and with the queue directory if it exists."""
    try:
        config = Config.resolve(settings=given())
        QueueDirectory(config.queue_dir).check()
    except ConfigurationError as error:
        return [Error(str(error), hint="See LOTUS in the settings, and LOTUS_ variables.", id="lotus_durable.E001")]
    except FileNotFoundError:
        pass  # it is made with the first event
    except OSError as error:
        return [Error(f"queue_dir {config.queue_dir} cannot be used: {error}", id="lotus_durable.E002")]
    if config.send and not config.can_send():
        return [
            Warning(
                "No API key is set: events are kept on disk, and another process must upload them.",
                hint="Set API_KEY or API_KEY_FILE in LOTUS, or LOTUS_API_KEY in the environment.",
                id="lotus_durable.W001",
            )
        ]
    return []
