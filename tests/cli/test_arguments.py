"""Unknown words and arguments of a verb: the run is refused in one sentence and nothing is written anywhere."""

from __future__ import annotations

import pytest
from support.operator import Pyinfra, ended, run
from support.servers import Database

from deploy import settings

KNOWN = ", ".join(sorted({*settings.ARGUMENTS, "report"}))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["foo=1"], f"deploy.apply: unknown argument 'foo'; use one of {KNOWN}"),
        (["shcema=x"], "deploy.apply: unknown argument 'shcema'; use one of schema"),
        (["foo"], f"deploy.apply: unexpected argument 'foo'; expected KEY=VALUE, with one of {KNOWN}"),
        (["schema=public", "schema"], f"deploy.apply: unexpected argument 'schema'; expected KEY=VALUE, with one of {KNOWN}"),
        (["postgres_port=5"], "deploy.apply: 'postgres_port' is a connection key; set it in the inventory"),
        (["query_budget_ms=fast"], "deploy.apply: invalid value 'fast' for argument 'query_budget_ms': expected an integer"),
    ],
)
def test_unknown_words_and_arguments_of_a_verb_are_refused(
    pyinfra: Pyinfra, database: Database, words: list[str], sentence: str
) -> None:
    before = database.dump()

    result = run(pyinfra, {"@postgres/one": database.data}, "-y", "deploy.apply", *words)

    assert (ended(result), result.code) == (sentence, 1)
    assert database.dump() == before
