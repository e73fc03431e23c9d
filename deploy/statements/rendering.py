"""Jinja for SQL: StrictUndefined, LF only, and the two filters through which every value goes. No clock, no locale."""

from __future__ import annotations

import traceback
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from deploy.connection import quoting
from deploy.errors import RunRefused


def _literal(value: object) -> str:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, with the variable's name
    return quoting.literal(value)


@cache
def read(path: Path) -> bytes:
    """The bytes of a file, read once a run. Raises OSError."""
    return path.read_bytes()


OWN = Path(__file__).parent
"""The machinery's own templates: a line with nothing but a tag renders to no line. A source's render with every byte they have."""


@cache
def environment(folder: Path) -> jinja2.Environment:
    def load(name: str) -> tuple[str, str, None] | None:
        path = folder.joinpath(*jinja2.loaders.split_template_path(name))
        return (read(path).decode(), str(path), None) if path.is_file() else None

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        newline_sequence="\n",
        trim_blocks=folder == OWN,
        lstrip_blocks=folder == OWN,
        autoescape=False,
        auto_reload=False,
        cache_size=-1,
    )
    made.filters.update(ident=quoting.ident, literal=_literal)
    return made


def render(folder: Path, name: str, /, **variables: Any) -> str:
    """The text of the template `name` in `folder`. Raises RunRefused with file and line."""
    try:
        return environment(folder).get_template(name).render(**variables)
    except jinja2.TemplateSyntaxError as error:
        raise RunRefused(f"{folder / (error.name or name)}:{error.lineno}: template syntax error: {error.message}") from None
    except jinja2.TemplateNotFound as error:
        place = _place(folder, error)
        raise RunRefused(f"{place}: no template {error.name!r}" if place else f"{folder / name}: no such template") from None
    except UnicodeDecodeError as error:
        raise RunRefused(f"{folder / name}: not valid UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except Exception as error:  # whatever an expression of the template raises
        raise RunRefused(f"{_place(folder, error) or folder / name}: template error: {error}") from None


def _place(folder: Path, error: Exception) -> str | None:
    """File and line of the innermost template in `folder` that was being rendered."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(folder)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
