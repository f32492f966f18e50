"""What the API reference shows of the code: docstrings as Markdown, and the calls as methods of the client."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data):`~?\.?([^`]+)`")

_TABLE = re.compile(r"^=+ .*?^=+ [= ]*=$(?!\n\S)", flags=re.MULTILINE | re.DOTALL)
_COLONS = re.compile(r"(?<=(.))?::$", flags=re.MULTILINE)


class Reference(griffe.Extension):
    """Changes what was read of the code before it is shown."""

    def on_object(self, *, obj: griffe.Object, **others: Any) -> None:  # noqa: ANN401, ARG002  # griffe's
        """Write a docstring as Markdown: names as code, and without the colons before an example."""
        if obj.docstring:
            text = _ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", obj.docstring.value)
            text = _TABLE.sub(lambda found: f"```text\n{found[0].replace('`', '')}\n```", text)
            obj.docstring.value = _COLONS.sub(lambda found: found[1] and ":", text)

    def on_function(self, *, func: griffe.Function, **others: Any) -> None:  # noqa: ANN401, ARG002  # griffe's
        """Leave out what makes a call for the client: it is the client's ``self``."""
        if "caller" in [each.name for each in func.parameters]:
            del func.parameters["caller"]
