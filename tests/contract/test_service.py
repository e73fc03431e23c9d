"""The contract of a service's forty files, made on two majors and a restored copy: what it finds, and when it must be silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import catalogs, service, versions
from support.servers import Database, Server
from support.sessions import session
from support.versions import every_version

from deploy.source import contract_text, contracts
from deploy.source.contracts import Contract

pytestmark = pytest.mark.everything

Servers = dict[str, Server]


def deployed(servers: Servers, label: str) -> Database:
    if label not in servers:
        servers[label] = Server.create(versions.programs(label), log_statement="all")
    database = servers[label].database()
    database.psql(service.script())
    return database


@pytest.fixture(scope="module", params=["pypi16", pytest.param("debian15", marks=pytest.mark.everything)])
def contract(request: pytest.FixtureRequest, _servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """Made on 18 and once more on an older one, written to its file and read again."""
    made = [deployed(_servers, "embedded"), deployed(_servers, request.param)]
    made += [catalogs.restored(database) for database in made]
    path: Path = tmp_path_factory.mktemp("contract") / "1.toml"
    path.write_text(contract_text.write(catalogs.contract_of(made, *service.SCHEMAS)), encoding="utf-8")
    yield contracts.read(path)
    for database in made:
        database.drop()


@pytest.fixture
def shop(database: Database) -> Database:
    database.psql(service.script())
    return database


@every_version
def test_every_major_holds_it(shop: Database, contract: Contract) -> None:
    assert catalogs.violations(shop, contract) == []


@every_version
def test_what_happens_to_every_database_is_no_violation(shop: Database, contract: Contract) -> None:
    owner = f"o_{shop.name}"
    settings = {
        "quote_all_identifiers": "on",
        "standard_conforming_strings": "off",
        "IntervalStyle": "sql_standard",
        "DateStyle": "german",
        "search_path": "audit, public",
        "TimeZone": "'Asia/Tokyo'",
    }
    shop.psql(
        f"""VACUUM FULL; REINDEX DATABASE {shop.name}; ANALYZE; CREATE ROLE {owner}; GRANT SELECT ON orders TO PUBLIC;
        ALTER TABLE coupons ADD gone int; ALTER TABLE coupons DROP gone;"""
        + "".join(f"ALTER TABLE {table} OWNER TO {owner};" for table in ("customers", "orders", "open_orders", "events_2025"))
        + "".join(f"ALTER DATABASE {shop.name} SET {name} = {value};" for name, value in settings.items())
    )
    try:
        assert catalogs.violations(shop, contract) == []
    finally:
        shop.psql(f"DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")


@every_version
def test_each_of_many_mutations_is_found_as_one_violation_that_names_the_object(shop: Database, contract: Contract) -> None:
    wrong = []
    with session(shop) as connection:
        for name, sql in service.MUTATIONS:
            with catalogs.undone(connection):
                connection.execute(sql.encode())
                found = catalogs.compared(connection, contract).violations
            if ", ".join(violation.object for violation in found) != name:
                wrong.append(f"{sql}: {[str(violation) for violation in found]}")
    assert wrong == []


def test_what_a_dba_adds_to_a_database_is_a_note(shop: Database, contract: Contract) -> None:
    shop.psql(
        """CREATE PUBLICATION changes FOR TABLE orders;
        CREATE TABLE events_2027 PARTITION OF events FOR VALUES FROM ('2027-01-01 00:00+00') TO ('2028-01-01 00:00+00');
        ALTER TABLE orders SET (fillfactor = 90);
        CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY)"""
    )
    with session(shop) as connection:
        got = catalogs.compared(connection, contract)
    assert got.violations == ()
    assert [note.partition(":")[0] for note in got.notes] == ["events_2027", "publication changes", "orders"]


def test_the_same_files_in_a_schema_of_another_name_hold_it(database: Database, contract: Contract) -> None:
    database.psql(
        "CREATE SCHEMA shop; SET search_path = shop;\n" + service.script().replace("public.", "shop.").replace(", public", ", shop")
    )
    got = catalogs.violations(database, contract, "shop")
    # what the file itself spells with its schema is text of a function, which nobody reads
    assert [line.partition(":")[0] for line in got] == ["function revenue(timestamp with time zone)"]


def test_a_role_that_may_only_connect_reads_the_same(shop: Database, contract: Contract) -> None:
    shop.psql(f"CREATE ROLE r_{shop.name}; REVOKE ALL ON SCHEMA public FROM PUBLIC")
    with session(shop) as connection:
        connection.execute(f"SET ROLE r_{shop.name}".encode())
        assert catalogs.compared(connection, contract).violations == ()
    shop.psql(f"DROP ROLE r_{shop.name}")
