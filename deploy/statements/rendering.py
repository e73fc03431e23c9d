"""Jinja for SQL: StrictUndefined, LF only, and the two filters through which every value goes. No clock, no locale."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import jinja2

from deploy.connection import quoting
from deploy.connection.quoting import Sql
from deploy.errors import source_refused
from deploy.statements.sandbox import SqlSandbox, TemplateRefused


def _literal(value: object) -> Sql:
    if isinstance(value, jinja2.Undefined):
        str(value)  # raises, with the variable's name
    return quoting.literal(value)


class Templates:
    """The files of one folder, each read once, when it is first needed; they may be anybody's, and are rendered in a sandbox.

    With `trim_blocks` a line with nothing but a tag renders to no line; without, every byte of a file is rendered.
    """

    def __init__(self, folder: Path, *, environment: type[jinja2.Environment] = SqlSandbox, trim_blocks: bool = False) -> None:
        self.folder = folder
        self._files: dict[str, bytes] = {}
        self.environment = environment(
            loader=jinja2.FunctionLoader(self._load),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            newline_sequence="\n",
            trim_blocks=trim_blocks,
            lstrip_blocks=trim_blocks,
            autoescape=False,
            auto_reload=False,
            cache_size=-1,
        )
        self.environment.filters.update(ident=quoting.ident, literal=_literal)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises OSError."""
        if name not in self._files:
            self._files[name] = (self.folder / name).read_bytes()
        return self._files[name]

    def render(self, name: str, /, **variables: Any) -> str:
        """The text of the template `name`. Raises RunRefused with file and line."""
        try:
            return self.environment.get_template(name).render(**variables)
        except jinja2.TemplateSyntaxError as error:
            place = f"{self.folder / (error.name or name)}:{error.lineno}"
            raise source_refused(place, f"template syntax error: {error.message}") from None
        except jinja2.TemplateNotFound as error:
            if (including := self._place(error)) is not None:
                raise source_refused(including, f"no template {error.name!r}") from None
            raise source_refused(self.folder / name, "no such template") from None
        except UnicodeDecodeError as error:
            raise source_refused(self.folder / name, f"not valid UTF-8 at byte {error.start}", "save the file as UTF-8") from None
        except TemplateRefused as refused:
            raise source_refused(self._place(refused) or self.folder / name, str(refused), refused.next) from None
        except Exception as error:  # whatever an expression of the template raises
            raise source_refused(self._place(error) or self.folder / name, f"template error: {error}") from None

    def _load(self, name: str) -> tuple[str, str, None] | None:
        path = self.folder.joinpath(*jinja2.loaders.split_template_path(name))
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise TemplateRefused(f"template {name!r} is outside of the folder", "put a copy into it")
        return (self.read(name).decode(), str(path), None) if path.is_file() else None

    def _place(self, error: Exception) -> str | None:
        """File and line of the innermost template of the folder that was being rendered."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(self.folder)]
        return f"{ours[-1].filename}:{ours[-1].lineno}" if ours else None
