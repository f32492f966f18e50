"""What the templates of the admin's pages use."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import template

from lotus_durable.cli.wording import count

register: Any = template.Library()


def querystring_of(**given: str) -> str:
    """Return them for a URL."""
    return urlencode(given)


register.filter("humane_numbers", count)
register.simple_tag(querystring_of)
