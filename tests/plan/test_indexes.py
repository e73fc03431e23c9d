"""Which INVALID indexes a file has to answer for: those it names, and those that it lets Postgres name."""

from __future__ import annotations

import pytest

from deploy.plan.invalid_indexes import InvalidIndex, next_step, of_file


def index(name: str, table: str = "t") -> InvalidIndex:
    return InvalidIndex(index=f"public.{name}", name=name, table=table, busy=False)


@pytest.mark.parametrize(
    ("sql", "name", "mine"),
    [
        ("CREATE INDEX CONCURRENTLY t_x ON t (x)", "t_x", True),
        ("create index concurrently T_X on t (x)", "t_x", True),
        ("CREATE INDEX CONCURRENTLY t_xy ON t (x)", "t_x", False),
        ('CREATE INDEX CONCURRENTLY "Odd name" ON t (x)', "Odd name", True),
        ("REINDEX INDEX CONCURRENTLY t_x", "t_x_ccnew", True),
        ("REINDEX INDEX CONCURRENTLY t_x", "t_x_ccold1", True),
        ("CREATE INDEX CONCURRENTLY ON t (x)", "t_x_idx", True),
        ("CREATE INDEX CONCURRENTLY other ON t (x)", "t_x_idx", False),
        ("CREATE INDEX CONCURRENTLY ON u (x)", "t_x_idx", False),
    ],
)
def test_an_index_belongs_to_the_file_that_builds_it(sql: str, name: str, mine: bool) -> None:
    one = index(name)
    assert of_file(f"-- no-transaction\n{sql}", [one]) == ((one,) if mine else ())


def test_the_next_step_is_an_exact_statement() -> None:
    assert next_step([index("t_x")], 7) == (
        "run `DROP INDEX CONCURRENTLY IF EXISTS public.t_x;` and remove the row of version 7 from the ledger, "
        "or deploy.apply repair_invalid_indexes=true, which does so and builds it again"
    )
