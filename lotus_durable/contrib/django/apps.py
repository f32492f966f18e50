"""The application that Django finds in this package."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed


class LotusDurableConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """Gives the project's settings to the library, and again where a test overrides them."""

    name = "lotus_durable.contrib.django"
    label = "lotus_durable"
    verbose_name = "Lotus usage events"
    default_auto_field = "django.db.models.BigAutoField"  # of a model without a table: no project is to be asked

    def ready(self) -> None:
        """Apply the settings. What is wrong with a value the check says, and the first call."""
        from . import options

        options.apply()
        setting_changed.connect(options.follow)
        checks.register(options.check)
