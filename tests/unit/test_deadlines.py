"""How long an answer is waited for."""

from __future__ import annotations

from deploy import patience
from deploy.script import File, Script


def test_a_file_is_waited_for_as_long_as_all_of_its_statements_may_take() -> None:
    def waited(*parts: object, **own: int) -> float | None:
        return patience.seconds(Script(*parts, **own), 60_000)  # type: ignore[arg-type]

    assert waited("SELECT 1; SELECT 2; SELECT 3") == 70
    assert waited(File("SELECT 1; SELECT 2", "1_a.sql")) == 130
    assert waited("SELECT 1", statement_timeout=5_000) == 15
    assert waited(File("CREATE INDEX CONCURRENTLY i ON t (x)", "1_a.sql"), statement_timeout=0) is None
    assert patience.seconds(Script("SELECT 1"), 0) is None
