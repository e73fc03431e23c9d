"""Jinja for SQL: nothing undefined passes, and an error names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.connection import quoting
from deploy.errors import RunRefused
from deploy.source import migrations
from deploy.statements.rendering import Templates

BROKEN = {
    "a value that nobody gave": ("SELECT 1;\nSELECT {{ nobody }};\n", "1_x.sql.j2:2: template error: 'nobody' is undefined"),
    "an attribute of it": ("{{ nobody.name }}", "1_x.sql.j2:1: template error: 'nobody' is undefined"),
    "a test of it": ("\n\n{% if nobody %}x{% endif %}", "1_x.sql.j2:3: template error: 'nobody' is undefined"),
    "a quoted one": ("{{ nobody | ident }}", "1_x.sql.j2:1: template error: "),
    "a syntax error": (
        "SELECT 1;\n{% if %}\n",
        "1_x.sql.j2:2: template syntax error: Expected an expression, got 'end of statement",
    ),
    "an unknown filter": ("\n{{ 1 | quote }}", "1_x.sql.j2:2: template syntax error: No filter named 'quote'."),
    "an expression that fails": ("\n{{ 1 / 0 }}", "1_x.sql.j2:2: template error: division by zero"),
    "an include that is not there": ("\n{% include 'gone.sql' %}", "1_x.sql.j2:2: "),
}


@pytest.mark.parametrize(("content", "want"), BROKEN.values(), ids=BROKEN.keys())
def test_a_template_error_names_the_file_and_the_line(content: str, want: str, tmp_path: Path) -> None:
    (tmp_path / "1_x.sql.j2").write_text(content)
    with pytest.raises(RunRefused) as refused:
        migrations.load(tmp_path)
    assert str(refused.value).startswith(str(tmp_path))
    assert want in str(refused.value)


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "1_x.sql.j2").write_text("{% include 'part.sql.j2' %}")
    (tmp_path / "part.sql.j2").write_text("\n{{ nobody }}")
    with pytest.raises(RunRefused) as refused:
        migrations.load(tmp_path)
    assert str(refused.value) == f"{tmp_path / 'part.sql.j2'}:2: template error: 'nobody' is undefined"


@pytest.mark.parametrize("content", ["SELECT 1;", "SELECT 1;\n", "SELECT 1;\n\n", "\n", "{# remark #}\nSELECT 'ä';\n"])
def test_text_comes_out_byte_for_byte(content: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(content, encoding="utf-8")
    assert Templates(tmp_path).render("x") == content.removeprefix("{# remark #}")


def test_line_ends_become_lf(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    assert Templates(tmp_path).render("x") == "SELECT 1;\nSELECT 2;\n"


@pytest.mark.parametrize(("value", "want"), [(None, "NULL"), (5, "5"), (True, "true"), ("o'x", "'o''x'"), ("", "''")])
def test_a_literal_is_that_of_its_type(value: object, want: str) -> None:
    assert quoting.literal(value) == want
