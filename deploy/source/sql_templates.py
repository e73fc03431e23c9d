"""The packaged source: the folder `sql_templates` with its migrations, checks and named queries."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def folder() -> Path:
    """Inside the package in a wheel, beside it in a checkout."""
    inside = _PACKAGE / "sql_templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "sql_templates"
