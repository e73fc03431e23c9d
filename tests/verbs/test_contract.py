"""deploy.contract writes what hosts hold, and deploy.verify holds any source's hosts against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import service, versions
from support.files import write
from support.operator import Pyinfra, Result
from support.servers import Database, Server

from deploy.source import contracts

pytestmark = pytest.mark.usefixtures("password")

HOST = "@postgres/h"

FILES = {
    "1_shop.sql": "CREATE TABLE shop (id int PRIMARY KEY, name varchar(20) CHECK (name IN ('a', 'b')));",
    "2_view.sql": "CREATE VIEW named AS SELECT id FROM shop WHERE name IS NOT NULL;",
    "3_data.sql": "INSERT INTO shop VALUES (1, 'a');",
}


NOT_COMPARED = "so the schema was not compared; write one with deploy.contract and set `contract`"


def violations(ran: Result, host: str = HOST) -> list[str]:
    return [line.strip().removeprefix("violation: ") for line in ran.lines(host) if line.strip().startswith("violation: ")]


@pytest.fixture
def older(_servers: dict[str, Server]) -> Iterator[Database]:
    """A database on an older major, which spells views in another way."""
    label = "debian15" if "debian15" in versions.here() else "pypi16"
    if label not in _servers:
        _servers[label] = Server.create(versions.programs(label), log_statement="all")
    made = _servers[label].database()
    yield made
    made.drop()


def source(folder: Path, upto: int = 3) -> str:
    return str(write(folder / "migrations", {name: text for name, text in FILES.items() if int(name[0]) <= upto}))


@pytest.mark.everything
def test_a_contract_of_two_majors_holds_on_both_and_names_what_differs(
    pyinfra: Pyinfra, database: Database, older: Database, tmp_path: Path
) -> None:
    folder = str(service.write(tmp_path / "migrations"))
    hosts = {"@postgres/new": {**database.data, "migrations": folder}, "@postgres/old": {**older.data, "migrations": folder}}
    plain = pyinfra(hosts, "-y", "deploy.apply")
    assert plain.code == 0, plain.out
    want = f"not verified: this source has no contract, {NOT_COMPARED}"
    assert all(want in plain.lines(host) for host in hosts)

    made = pyinfra(hosts, "-y", "deploy.contract", f"out={tmp_path / 'contract'}", "schemas=audit")
    assert made.code == 0, made.out
    (contract,) = contracts.load(tmp_path / "contract")
    assert (contract.version, contract.closed, contract.schemas) == (len(service.FILES), True, ("audit",))
    assert len(contract.majors) == 2 and len(contract.entries) > 250
    again = pyinfra(hosts, "-y", "deploy.contract", f"out={tmp_path / 'contract'}", "schemas=audit")
    assert (again.code, again.change("Write")) == (0, "no change"), again.out

    hosts = {name: {**data, "contract": str(tmp_path / "contract")} for name, data in hosts.items()}
    assert pyinfra(hosts, "-y", "deploy.verify").code == 0
    database.psql("ALTER TABLE reviews ALTER code DROP NOT NULL; DROP TABLE order_lines; CREATE TABLE _deploy_history (id int)")
    ran = pyinfra(hosts, "-y", "deploy.verify")
    assert ran.code == 1
    assert violations(ran, "@postgres/new") == [
        "order_lines: expected table, found missing",
        "reviews.code: expected character varying(20) NOT NULL, found character varying(20)",
    ]
    assert any(line.startswith("verified: ") for line in ran.lines("@postgres/old"))
    refused = pyinfra(hosts, "-y", "deploy.contract", f"out={tmp_path / 'contract'}", "schemas=audit")
    assert refused.code == 1
    assert any(line.startswith("hosts differ, so nothing was written") for line in refused.lines("@postgres/new"))
    assert any(line.startswith("reviews.code: ") for line in refused.lines("@postgres/new"))


@pytest.mark.everything
def test_a_file_that_leaves_no_trace_extends_the_contract_before_it(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    out = f"out={tmp_path / 'contract'}"
    for upto in (1, 2, 3):
        data = {**database.data, "migrations": source(tmp_path, upto)}
        assert pyinfra({HOST: data}, "-y", "deploy.apply").code == 0
        assert pyinfra({HOST: data}, "-y", "deploy.contract", out).code == 0
    one, two = contracts.load(tmp_path / "contract")
    assert [(one.version, one.through), (two.version, two.through)] == [(1, 1), (2, 3)]
    data["contract"] = str(tmp_path / "contract")
    ran = pyinfra({HOST: data}, "-y", "deploy.verify")
    assert (ran.code, violations(ran)) == (0, [])


def test_the_contract_of_the_version_that_is_applied_is_compared(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    data = {**database.data, "migrations": source(tmp_path, 1)}
    assert pyinfra({HOST: data}, "-y", "deploy.apply").code == 0
    assert pyinfra({HOST: data}, "-y", "deploy.contract", f"out={tmp_path / 'contract'}").code == 0
    data = {**data, "contract": str(tmp_path / "contract"), "migrations": source(tmp_path)}
    behind = pyinfra({HOST: data}, "-y", "deploy.verify")
    assert (behind.code, violations(behind)) == (1, ["_sqlx_migrations: expected applied: 2 view, 3 data, found pending"])
    assert pyinfra({HOST: data}, "-y", "deploy.apply").code == 0
    ahead = pyinfra({HOST: data}, "-y", "deploy.verify")
    want = f"not verified: no contract for version 3, {NOT_COMPARED}"
    assert (ahead.code, want in ahead.lines(HOST)) == (0, True), ahead.out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("UPDATE _sqlx_migrations SET success = false WHERE version = 2", "migration 2 is partially applied; "),
        (
            "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1",
            "migration 1 was previously applied but has been modified",
        ),
        (
            "INSERT INTO _sqlx_migrations VALUES (9, 'x', now(), true, '\\x00', 0)",
            "migration 9 was previously applied but is missing",
        ),
    ],
)
def test_a_ledger_that_apply_would_refuse_is_a_finding_of_verify(
    pyinfra: Pyinfra, database: Database, tmp_path: Path, change: str, line: str
) -> None:
    data = {**database.data, "migrations": source(tmp_path)}
    assert pyinfra({HOST: data}, "-y", "deploy.apply").code == 0
    database.psql(change)
    for verb in ("deploy.verify", "deploy.apply"):
        ran = pyinfra({HOST: data}, "-y", verb)
        assert (ran.code, [text for text in ran.lines(HOST) if text.startswith(line)] != []) == (1, True), ran.out


def test_a_host_where_nothing_is_applied_has_no_contract(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    data = {**database.data, "migrations": source(tmp_path)}
    ran = pyinfra({HOST: data}, "-y", "deploy.contract", f"out={tmp_path / 'contract'}")
    want = "no contract can be made: migration 1 is not recorded; run deploy.apply first"
    assert (ran.code, want in ran.lines(HOST), (tmp_path / "contract").exists()) == (1, True, False), ran.out


@pytest.mark.everything
def test_a_restored_schema_without_its_ledger_is_adopted_in_one_run(
    pyinfra: Pyinfra, database: Database, neighbour: Database, tmp_path: Path
) -> None:
    """What leaves no trace is named, and recorded only when asked for by its version."""
    out = tmp_path / "contract"
    for upto in (1, 2, 3):
        data = {**database.data, "migrations": source(tmp_path, upto)}
        assert pyinfra({HOST: data}, "-y", "deploy.apply").code == 0
        assert pyinfra({HOST: data}, "-y", "deploy.contract", f"out={out}").code == 0
    neighbour.psql(database.server.client("pg_dump", "--exclude-table=_sqlx_migrations", database.name))
    data = {**neighbour.data, "migrations": data["migrations"], "contract": str(out)}
    respelt = pyinfra({HOST: data}, "-y", "deploy.adopt")
    assert respelt.code == 1 and any("shop_name_check: expected CHECK" in line for line in respelt.lines(HOST)), respelt.out

    # spellings after a restore are learnt by a host that was restored
    learnt = neighbour.server.database()
    learnt.psql(database.server.client("pg_dump", database.name))
    both = {
        HOST: {**database.data, "migrations": data["migrations"]},
        "@postgres/r": {**learnt.data, "migrations": data["migrations"]},
    }
    (out / "1.toml").unlink()
    made = pyinfra(both, "-y", "deploy.contract", f"out={out}")
    assert made.code == 0, made.out
    learnt.drop()
    assert [(one.version, one.through) for one in contracts.load(out)] == [(2, 3)]

    adopted = pyinfra({HOST: data}, "-y", "deploy.adopt")
    assert adopted.code == 0, adopted.out
    assert [line for line in adopted.lines(HOST) if line.startswith(("adopted", "3 "))] == [
        "3 data: leaves no trace in the catalogs, so nothing proves it; to=3 would record it",
        "adopted 1 shop: contract holds, recorded without running it",
        "adopted 2 view: contract holds, recorded without running it",
    ]
    assert neighbour.psql("SELECT version FROM _sqlx_migrations ORDER BY 1").splitlines() == ["1", "2"]
    assert pyinfra({HOST: data}, "-y", "deploy.adopt", "to=4").code == 1
    assert pyinfra({HOST: data}, "-y", "deploy.adopt", "to=3").code == 0
    assert pyinfra({HOST: data}, "-y", "deploy.verify").code == 0
