"""Every text of the package that reads as words for people, from its source; and whether a row of the runbooks' index has it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT


@dataclass(frozen=True)
class Text:
    """A text with `…` for each value in it, and where it stands."""

    place: str
    text: str

    @property
    def words(self) -> str:
        """Without the values that it begins with, of which an index can't know."""
        return re.sub(r"^[…\s:.,;'\"]+", "", self.text)


def of_package() -> list[Text]:
    """Texts of `deploy/` but for the report, a page that repeats what the console says; and what SQL templates raise."""
    found = [
        text
        for path in sorted((ROOT / "deploy").rglob("*.py"))
        if path.parent.name != "report"
        for text in of_module(path.read_text(encoding="utf-8"), path.relative_to(ROOT))
    ]
    for path in sorted((ROOT / "sql_templates").rglob("*.j2")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := re.search(r"\bRAISE \w+ '((?:[^']|'')*)'", line):
                found.append(Text(f"{path.relative_to(ROOT)}:{number}", match[1].replace("''", "'").replace("%", "…")))
    return found


def of_module(source: str, path: Path) -> Iterator[Text]:
    """Every literal and f-string that is no docstring and has three words, two of them of letters."""
    tree = ast.parse(source)
    parts = {
        id(part)
        for node in ast.walk(tree)
        for part in ([node.value] if isinstance(node, ast.Expr) else node.values if isinstance(node, ast.JoinedStr) else [])
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in parts:
                pass
            case ast.JoinedStr():
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            case _:
                continue
        if len(text.split()) >= 3 and len(re.findall(r"[A-Za-z]{2,}", text)) >= 2:
            yield Text(f"{path}:{node.lineno}", text)


@dataclass(frozen=True)
class Row:
    """A row of the index: the first words of an error, `…` for values, and the page that it leads to."""

    symptom: str
    page: str

    def lists(self, text: Text) -> bool:
        """Whether the text begins so; or the symptom has all of it, being more specific."""
        words = Text("", self.symptom).words
        return bool(_pattern(words).match(text.words) or _pattern(text.words).search(words))


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, words.split("…"))), re.DOTALL)


def rows(page: str) -> list[Row]:
    """The rows of the tables of a page whose first cell is code."""
    return [
        Row(symptom.strip(), link)
        for _, symptom, link in re.findall(r"^\| (`+)(.+?)\1 \| \[.+?\]\((.+?)\) \|$", page, re.MULTILINE)
    ]
