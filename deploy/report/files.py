"""The files of a report: `verify.json` for programs, `verify.xml` for CI, `verify.html` for people; a purge has `purge.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from deploy import settings
from deploy.errors import RunRefused
from deploy.problems import Problem
from deploy.report import as_html, as_junit
from deploy.report.fleet import Fleet, PurgeReport
from deploy.text import printable

VERIFICATION = ("verify.json", "verify.xml", "verify.html")
PURGE = ("purge.json",)


def prepare(value: Any, names: Sequence[str]) -> Path:
    """The folder of a report, made, writable and without an older report: a run that is refused leaves none to be mistaken."""
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise RunRefused(Problem("report", f"report={value}: expected a folder, such as report=reports"))
    folder = settings.resolve_path(str(value))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).unlink(missing_ok=True)
            (folder / name).touch()
            (folder / name).unlink()
    except OSError as error:
        raise RunRefused(Problem("report", f"report={value}: {error.strerror}", "choose a folder that can be written")) from None
    return folder


def render(report: Fleet | PurgeReport) -> Mapping[str, bytes]:
    """The report's files by name."""
    if isinstance(report, PurgeReport):
        return dict(zip(PURGE, (as_json(report),), strict=True))
    return dict(zip(VERIFICATION, (as_json(report), as_junit.render(report), as_html.render(report)), strict=True))


def as_json(report: Fleet | PurgeReport) -> bytes:
    """The report for programs."""
    document = TypeAdapter(type(report)).dump_python(report, mode="json")
    document["hosts"] = document.pop("hosts")  # last, below the summary
    return (printable(json.dumps(document, ensure_ascii=False, indent=2)) + "\n").encode()


def schema() -> str:
    """The JSON schema of verify.json, as `verify.schema.json` beside this file has it."""
    return json.dumps(TypeAdapter(Fleet).json_schema(mode="serialization"), indent=2) + "\n"


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raises RunRefused when a file can't be written."""
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        step = "make room there or choose another folder"
        raise RunRefused(Problem("report", f"report={folder}: not written: {error.strerror}", step)) from None
