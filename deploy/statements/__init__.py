"""The machinery's own SQL: one folder a subject, one template a message or a part of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.statements.rendering import Templates

_TEMPLATES = Templates(Path(__file__).parent)
"""Files of the package itself: as its modules, they are what they were when the process began."""


def statement(name: str, /, **variables: Any) -> str:
    """The text of one of the package's own statements, without its leading comment's blank line."""
    return _TEMPLATES.render(name, **variables).lstrip("\n")
