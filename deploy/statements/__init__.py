"""The machinery's own SQL: one folder a subject, one template a message or a part of one.

The first line of a template says its variables and the columns of its rows (`in: ...; out: ...`).
"""

from __future__ import annotations

from typing import Any

from deploy.statements import rendering


def statement(name: str, /, **variables: Any) -> str:
    """The text of one of the package's own templates."""
    return rendering.render(rendering.OWN, name, **variables)
