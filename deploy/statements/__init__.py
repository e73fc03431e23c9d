"""The machinery's own SQL: one folder a subject, one template a message or a part of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.statements import rendering

FOLDER = Path(__file__).parent


def statement(name: str, /, **variables: Any) -> str:
    """The text of one of the package's own statements, without its leading comment's blank line."""
    return rendering.render(FOLDER, name, **variables).lstrip("\n")
