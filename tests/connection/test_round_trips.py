"""How often a client far away waits for its server: counted on the socket, not by us."""

from __future__ import annotations

from support.operator import Pyinfra
from support.roundtrips import proxy
from support.servers import Database

HOST = "@postgres/far"


def test_the_proxy_counts_what_psql_waits_for(database: Database) -> None:
    with proxy(database.server.port) as between:

        def psql(*commands: str) -> None:
            words = [word for command in commands for word in ("-c", command)]
            database.server.client("psql", "-Xq", "-p", str(between.port), *words, database.name)

        psql("SELECT 1")
        assert between.waits == [1]
        psql("SELECT 1; SELECT repeat('x', 1000000)", "BEGIN", "SELECT 1", "COMMIT")
        assert between.waits == [1, 4]
        assert between.most_open == 1


def test_a_first_apply_waits_at_most_12_times_and_one_at_target_at_most_3(database: Database, pyinfra: Pyinfra) -> None:
    """With -y, and with a plan that is shown and approved, where each body runs twice."""
    for words, stdin, change, most in (
        (["deploy.apply"], "\n", "success", 12),
        (["deploy.apply"], "\n", "no change", 3),
        (["-y", "deploy.apply"], "", "no change", 3),
        (["--dry", "deploy.apply"], "", None, 1),
        (["-y", "deploy.verify"], "", None, 1),
    ):
        with proxy(database.server.port) as between:
            data = {**database.data, "postgres_port": between.port}
            result = pyinfra({HOST: data}, *words, environment=database.server.environment(), stdin=stdin)
            assert (result.code, result.change("Migrate")) == (0, change), result.out
            assert len(between.waits) == 1
            assert 1 <= between.waits[0] <= most, (words, between.waits)


def test_a_first_apply_without_questions_waits_at_most_12_times(database: Database, pyinfra: Pyinfra) -> None:
    with proxy(database.server.port) as between:
        data = {**database.data, "postgres_port": between.port}
        result = pyinfra({HOST: data}, "-y", "deploy.apply", environment=database.server.environment())
        assert (result.code, result.change("Migrate")) == (0, "success"), result.out
        assert len(between.waits) == 1
        assert 1 <= between.waits[0] <= 12, between.waits
