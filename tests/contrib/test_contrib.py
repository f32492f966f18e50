"""The adapters together."""

from __future__ import annotations

import inspect

import lotus_durable
from lotus_durable.contrib import django, sqlalchemy


def test_the_help_of_both_adapters_shows_the_arguments_of_track_event() -> None:
    tracking = inspect.signature(lotus_durable.track_event).parameters
    for module in (django, sqlalchemy):
        shown = inspect.signature(module.track_on_commit).parameters
        assert {name: each for name, each in shown.items() if name in tracking} == dict(tracking)
