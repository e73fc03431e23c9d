"""Problems are values of a listed kind; errors of the server become one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from support.project import ROOT

from deploy.errors import HostFailed, RunRefused, SqlError
from deploy.problems import KINDS, Problem


def made() -> Iterator[str]:
    """The kind of each problem that the package makes."""
    for path in (ROOT / "deploy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("Problem", "SqlError")):
                places = node.args[:1] if ast.unparse(node.func).endswith("Problem") else []
                for place in [*places, *(keyword.value for keyword in node.keywords if keyword.arg == "kind")]:
                    yield from (part.value for part in ast.walk(place) if isinstance(part, ast.Constant))


def test_each_kind_is_listed_and_none_is_listed_that_nothing_makes() -> None:
    assert set(made()) | {SqlError.kind} == KINDS.keys()


def test_a_problem_is_shown_as_one_sentence_that_ends_with_the_next_step() -> None:
    problem = Problem("lock", "another migrator holds the lock", "run the command again")
    assert str(problem) == "another migrator holds the lock; run the command again"
    assert str(Problem("lock", "another migrator holds the lock")) == "another migrator holds the lock"
    assert (str(RunRefused(problem)), HostFailed(problem, "more").lines) == (str(problem), (str(problem), "more"))


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [("42601", "statement"), ("55P03", "busy"), ("40P01", "busy"), ("40001", "busy"), ("42501", "privilege"), (None, "connection")],
)
def test_an_error_of_the_server_is_a_problem_of_the_kind_that_its_sqlstate_tells(sqlstate: str | None, kind: str) -> None:
    error = SqlError("ERROR: no", sqlstate, name="1_a.sql", line=3, column=5)
    shown = ": ".join(part for part in ("1_a.sql:3:5", sqlstate, "ERROR: no") if part)
    assert error.problem == Problem(kind, shown)


def test_its_line_detail_hint_and_context_are_further_lines() -> None:
    error = SqlError("ERROR: no", "42601", "the\ndetail", "the hint", "the context", "1_a.sql", 1, 8, "SELECT wrong")
    failed = HostFailed.of(error, "tried for 60 s")
    assert failed.lines == (
        "1_a.sql:1:8: 42601: ERROR: no",
        "    SELECT wrong",
        "           ^",
        "DETAIL: the detail",
        "HINT: the hint",
        "CONTEXT: the context",
        "tried for 60 s",
    )
