"""What the servers of 2022 and 2024 answered, how Django REST framework words what is wrong, and what proxies do."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def load(name: str) -> Any:  # noqa: ANN401  # JSON
    """Return what is in ``<name>.json``."""
    return json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
