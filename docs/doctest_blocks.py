"""Shows the examples of docstrings (`>>>`) as code on the pages that mkdocstrings makes."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)


class DoctestBlocks(Extension):
    """Puts every example in a fence of its own."""

    def on_object(self, *, obj: Object, **_more: Any) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
