"""What the templates of the admin's pages use."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template

from lotus_durable.cli.wording import count

register = template.Library()

register.filter("humane_numbers", count)


@register.simple_tag  # type: ignore[untyped-decorator]  # Django has no types
def querystring_of(**given: str) -> str:
    """Return them for a URL."""
    return urlencode(given)
