"""Unknown words and arguments of a verb: the run is refused in one sentence and nothing is written anywhere."""

from __future__ import annotations

import pytest
from support.operator import Pyinfra, ended, run
from support.roundtrips import proxy
from support.servers import Database

from deploy import settings

KNOWN = ", ".join(sorted({*settings.ARGUMENTS, "report"}))


TIME = "invalid value 3 for argument 'lock_timeout': expected a unit: '3s' or '3ms'"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["deploy.apply", "foo=1"], f"deploy.apply: unknown argument 'foo'; use one of {KNOWN}"),
        (["deploy.apply", "shcema=x"], "deploy.apply: unknown argument 'shcema'; use one of schema"),
        (["deploy.apply", "foo"], None),
        (["deploy.apply", "schema", "owner=x"], None),
        (["deploy.apply", "postgres_port=5"], "deploy.apply: 'postgres_port' is a connection key; set it in the inventory"),
        (
            ["deploy.apply", "query_budget_ms=fast"],
            "deploy.apply: invalid value 'fast' for argument 'query_budget_ms': expected an integer",
        ),
        (["deploy.apply", "lock_timeout=3"], f"deploy.apply: {TIME}"),
        (["deploy.revert", "to=soon"], "deploy.revert: invalid value 'soon' for argument 'to': expected an integer"),
        (
            ["deploy.verify", "checks=~nobody/x"],
            "deploy.verify: invalid value '~nobody/x' for argument 'checks': "
            "'~nobody' is the home of a user by name; write the whole path",
        ),
        (
            ["--no-wait", "deploy.apply"],
            "--no-wait is not supported: a host that fails would end with exit code 0; "
            "leave it out, and use --parallel 1 to go host by host",
        ),
        (
            ["--data", "waves=1", "deploy.apply"],
            "@postgres/one: unknown data key 'waves'; did you mean 'wave'? If it is another deploy's, list it in 'other_keys'",
        ),
    ],
)
def test_what_a_command_line_can_not_mean_is_refused_before_any_connection(
    pyinfra: Pyinfra, database: Database, words: list[str], sentence: str | None
) -> None:
    before = database.dump()
    with proxy(database.server.port) as server:
        result = run(pyinfra, {"@postgres/one": {**database.data, "postgres_port": server.port}}, "-y", *words)
        want = sentence or f"{words[0]}: unexpected argument {words[1]!r}; expected KEY=VALUE, with one of {KNOWN}"
        assert (ended(result), result.code) == (want, 1)
        assert server.links == []
    assert database.dump() == before


def test_a_command_line_that_is_fine_connects(pyinfra: Pyinfra, database: Database) -> None:
    with proxy(database.server.port) as server:
        hosts = {"@postgres/one": {**database.data, "postgres_port": server.port}}
        assert run(pyinfra, hosts, "-y", "deploy.apply", "lock_timeout=3s", "migrations=null").code == 0
        assert len(server.links) == 1
