"""The machinery's own SQL: one folder a subject, one template a message or a part of one.

The first line of a template says its variables and the columns of its rows (`in: ...; out: ...`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from deploy.statements.rendering import Templates

TEMPLATES = Templates(Path(__file__).parent, environment=jinja2.Environment, trim_blocks=True)
"""Files of the package itself: as its modules, they are what they were when the process began."""


def statement(name: str, /, **variables: Any) -> str:
    """The text of one of the package's own templates."""
    return TEMPLATES.render(name, **variables)
