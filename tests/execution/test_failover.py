"""Failovers between plan and execution, on real pairs: they are noticed, and nothing is written to the wrong server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.files import write
from support.operator import Pyinfra, Result, is_deployed, run, said
from support.project import MIGRATION
from support.purge_data import EVENTS
from support.roundtrips import proxy
from support.servers import PASSWORD, SUPERUSER, Database, Server, free_port, without_pg_variables
from support.sqlx import LEDGER
from support.standbys import Pair, promote, replayed
from support.terminal import approve
from support.versions import programs

pytestmark = [pytest.mark.server, pytest.mark.everything]

HOST = "@postgres/db"


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair.create(programs())
    yield made
    made.remove()


@pytest.fixture
def database(pair: Pair) -> Database:
    made = pair.primary.database("app")
    replayed(pair.primary, pair.standby)
    return made


def several(*servers: Server, attributes: str = "read-write") -> dict[str, object]:
    """Host data with a connection string of several hosts."""
    hosts = ",".join("127.0.0.1" for _ in servers)
    ports = ",".join(str(server.port) for server in servers)
    return {"postgres_conninfo": f"host={hosts} port={ports} user={SUPERUSER} dbname=app target_session_attrs={attributes}"}


def at(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def test_a_connection_string_of_several_hosts_reaches_the_one_it_asks_for(pyinfra: Pyinfra, pair: Pair, database: Database) -> None:
    primary, standby = pair.primary, pair.standby
    want = {
        "read-write": (primary, primary),
        "primary": (primary, primary),
        "read-only": (standby, standby),
        "standby": (standby, standby),
        "prefer-standby": (standby, standby),
        "any": (primary, standby),
    }
    hosts: dict[str, dict[str, object]] = {}
    for attributes in want:
        hosts[f"@postgres/{attributes}-1"] = several(primary, standby, attributes=attributes)
        hosts[f"@postgres/{attributes}-2"] = several(standby, primary, attributes=attributes)
    got = run(pyinfra, hosts, "exec", "--", "SELECT inet_server_port() AS port")
    assert got.code == 0, got.out
    for attributes, reached in want.items():
        for number, (server, order) in enumerate(zip(reached, ((primary, standby), (standby, primary)), strict=True), 1):
            lines = said(got, f"@postgres/{attributes}-{number}")
            assert lines[0] == f"reached {at(server)} of {at(order[0])},{at(order[1])}"
            assert f'[{{"port": {server.port}}}]' in lines

    both = {"@postgres/one": several(standby, primary), "@postgres/two": several(primary, standby, attributes="standby")}
    done = run(pyinfra, both)
    assert done.code == 0 and is_deployed(database), done.out

    neither = free_port()
    dead = Server(primary.bin, primary.folder, neither)
    got = run(pyinfra, {HOST: several(standby, dead)})
    refused = f'connection to server at "127.0.0.1", port {neither} failed: Connection refused'
    assert said(got, HOST) == [
        f'can\'t connect to {at(standby)},{at(dead)}: connection to server at "127.0.0.1", port {standby.port} failed: '
        f"session is read-only, then {refused}; check the port and that the server runs"
    ]


def approved(tmp_path: Path, hosts: dict[str, dict[str, object]], meanwhile: Callable[[], object]) -> Result:
    environment = {**without_pg_variables(), "PGPASSWORD": PASSWORD}
    return approve(tmp_path, hosts, "deploy.apply", meanwhile=meanwhile, environment=environment)


def contents(*servers: Server) -> list[str]:
    return [Database(server, "app").whole() for server in servers]


@pytest.mark.parametrize("standby_first", [False, True])
def test_a_promotion_before_the_approval_is_noticed_while_the_old_primary_still_takes_writes(
    tmp_path: Path, pair: Pair, database: Database, standby_first: bool
) -> None:
    """The connection of the plan is still open, to the old primary."""
    servers = (pair.standby, pair.primary) if standby_first else (pair.primary, pair.standby)
    before = contents(*servers)

    got = approved(tmp_path, {HOST: several(*servers)}, lambda: promote(pair.standby))

    assert (got.code, contents(*servers)) == (1, before), got.out
    line = said(got, HOST)[-1]
    assert line.startswith(f"two servers of this host's connection string take writes: primary at {at(pair.primary)} (timeline 1, ")
    assert f" and {at(pair.standby)}, primary at {at(pair.standby)} (timeline 2, " in line
    assert line.endswith("; nothing was written, stop the one that is no longer the primary, then run the command again")


def failover(line: str, then: str, now: str) -> bool:
    return (
        line.startswith(f"failover, or another server, since the plan was made: then {then}")
        and f", now {now}" in line
        and line.endswith("; nothing was written to it, run the command again")
    )


def test_a_failover_before_the_approval_is_noticed_when_the_old_primary_is_gone(
    tmp_path: Path, pair: Pair, database: Database
) -> None:
    before = contents(pair.standby)

    def fail_over() -> None:
        pair.primary.stop()
        promote(pair.standby)

    hosts = {HOST: several(pair.primary, pair.standby)}
    got = approved(tmp_path, hosts, fail_over)

    assert (got.code, contents(pair.standby)) == (1, before), got.out
    assert failover(said(got, HOST)[-1], f"primary at {at(pair.primary)} (timeline 1", f"primary at {at(pair.standby)} (timeline 2")
    again = approved(tmp_path, hosts, lambda: None)
    assert again.code == 0 and is_deployed(Database(pair.standby, "app")), again.out
    gone = f"not known whether it takes writes too: can't connect to {at(pair.primary)}: "
    assert any(line.startswith(gone) for line in said(again, HOST)), again.out


def test_a_standby_that_is_promoted_before_the_approval_is_not_migrated(tmp_path: Path, pair: Pair, database: Database) -> None:
    copy = Database(pair.standby, "app")
    before = contents(pair.standby)
    got = approved(tmp_path, {HOST: copy.data}, lambda: promote(pair.standby))
    assert (got.code, contents(pair.standby)) == (1, before), got.out
    assert failover(said(got, HOST)[-1], f"standby at {at(pair.standby)}", f"primary at {at(pair.standby)} (timeline 2")


def test_another_cluster_under_the_same_address_is_noticed_and_a_restart_is_none(tmp_path: Path) -> None:
    server, other = (Server.create(programs()) for _ in range(2))
    try:
        database, stranger = server.database("app"), other.database("app")
        before = stranger.whole()

        def swap(gone: Server, come: Server) -> None:
            gone.stop("fast")
            come.stop("fast")
            gone.port, come.port = come.port, gone.port
            for moved in (gone, come):
                moved.configure(port=str(moved.port))
                moved.start()

        hosts = {HOST: database.data}
        got = approved(tmp_path, hosts, lambda: swap(server, other))
        assert (got.code, stranger.whole()) == (1, before), got.out
        place = f"primary at {at(other)} (timeline 1, system "
        assert failover(said(got, HOST)[-1], place, place)

        swap(other, server)
        got = approved(tmp_path, hosts, lambda: (server.stop("fast"), server.start()))
        assert got.code == 0 and is_deployed(database), got.out
    finally:
        for one in (server, other):
            one.remove()


@pytest.fixture(scope="module")
def split() -> Iterator[Pair]:
    """A pair of which both take writes."""
    made = Pair.create(programs())
    promote(made.standby)
    yield made
    made.remove()


@pytest.mark.parametrize(
    ("verb", "waits", "prepared"),
    [
        ("deploy.apply", 1, ""),
        ("deploy.apply migrations=migrations", 1, LEDGER + "CREATE TABLE a (x int);"),
        ("deploy.revert", 1, "apply"),
        ("deploy.adopt", 1, MIGRATION.read_text(encoding="utf-8")),
        ("deploy.purge", 2, MIGRATION.read_text(encoding="utf-8") + EVENTS.format(days=200)),
    ],
    ids=["apply", "no-transaction", "revert", "adopt", "purge"],
)
def test_a_connection_that_leads_elsewhere_when_it_is_opened_again_writes_nothing(
    pyinfra: Pyinfra, tmp_path: Path, split: Pair, verb: str, waits: int, prepared: str
) -> None:
    """It is cut after the last read, and the same address leads to the other server, before the first write."""
    name = f"app_{verb.replace('.', '_').partition(' ')[0]}_{waits}_{len(prepared)}"
    databases = [server.database(name) for server in (split.primary, split.standby)]
    for database in databases:
        if prepared == "apply":
            assert run(pyinfra, {HOST: database.data}).code == 0
        else:
            database.psql(prepared)
    write(tmp_path / "migrations", {"2_i.sql": "-- no-transaction\nCREATE INDEX i ON a (x)"})
    before = [database.whole() for database in databases]
    with proxy(split.primary.port) as between:
        between.move(waits, split.standby.port)
        got = run(pyinfra, {HOST: {**databases[0].data, "postgres_port": between.port}}, "-y", *verb.split())
        assert len(between.waits) == 2, "the connection was opened again"
    assert (got.code, [database.whole() for database in databases]) == (1, before), got.out
    lines = [line for line in said(got, HOST) if "failover" in line]
    assert len(lines) == 1 and failover(lines[0], f"primary at {at(split.primary)}", f"primary at {at(split.standby)}"), got.out
