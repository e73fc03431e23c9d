"""Verification with next to no rights: the same findings, and what could not be looked at is said and is no success."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jsonschema
import junitparser
from support.mutations import schemas, script
from support.operator import Pyinfra, Result, run, said
from support.servers import SUPERUSER, Database, login, quoted
from support.sqlx import DEPLOYED
from support.versions import every_version

from deploy.report import files
from deploy.source import checks

OURS = DEPLOYED
ROLES = {
    "usage-and-select": "GRANT USAGE ON SCHEMA app TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {role}",
    "no-ledger": "GRANT USAGE ON SCHEMA app TO {role}; GRANT SELECT ON integration_health, integration_events TO {role}",
    "no-tables": "GRANT USAGE ON SCHEMA app TO {role}; GRANT SELECT ON _sqlx_migrations TO {role}",
    "nothing": "",
}
FUTURE = """SELECT 'integration_events' AS object, 'nothing from the future' AS expected, 'an event of ' || occurred_at AS actual
FROM {{ schema | ident }}.integration_events WHERE occurred_at > now() + interval '1 day'"""


def readers(database: Database) -> dict[str, dict[str, object]]:
    """Data of hosts that are one database, deployed in schema `app`, for each role of ROLES."""
    database.psql(f"CREATE SCHEMA app; SET search_path = app; {OURS}")
    database.psql(f'REVOKE ALL ON DATABASE "{database.name}" FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC')
    hosts = {}
    for name, grants in ROLES.items():
        role = f"{name} {database.name}"
        hosts[f"@postgres/{name}"] = {**login(database, role), "schema": "app"}
        database.psql(f'GRANT CONNECT ON DATABASE "{database.name}" TO "{role}"')
        database.psql(f"SET search_path = app; {grants.replace('{role}', quoted(role))}")
    return hosts


def about(ran: Result, host: str) -> list[str]:
    return [line for line in said(ran, host) if line != "Ready: verify"]


@every_version
def test_the_catalogs_and_the_ledger_are_enough_to_verify_and_what_a_probe_needs_is_said(
    database: Database, pyinfra: Pyinfra
) -> None:
    """USAGE and SELECT on the tables are more than the contract needs; a probe, when asked for, needs TEMPORARY."""
    every = readers(database)
    blind = {name: every.pop(name) for name in ("@postgres/no-ledger", "@postgres/nothing")}
    ran = run(pyinfra, blind, "-y", "deploy.verify")
    assert ran.code == 1
    for name, grant in zip(
        blind, ('GRANT SELECT ON TABLE "app"."_sqlx_migrations" TO', 'GRANT USAGE ON SCHEMA "app" TO'), strict=True
    ):
        assert [line for line in said(ran, name) if f"; run {grant} " in line], ran.out
    hosts = every
    ran = run(pyinfra, hosts, "-y", "deploy.verify", "probe_rows=100")
    assert ran.code == 0, ran.out
    for host, data in hosts.items():
        role, verified, grant = data["postgres_user"], [], f'GRANT TEMPORARY ON DATABASE "{database.name}" TO '
        verified = [line for line in said(ran, host) if line.startswith("verified: ")]
        assert len(verified) == 1, ran.out
        assert f'not probed: role "{role}" may not make temporary tables; run {grant}"{role}"' in said(ran, host)
    first = next(iter(hosts))
    database.psql(f'{grant}"{hosts[first]["postgres_user"]}"')
    database.psql("DROP INDEX app.idx_integration_events_type")
    ran = run(pyinfra, hosts, "-y", "deploy.verify")
    assert ran.code == 1
    for host in hosts:
        assert len([line for line in said(ran, host) if line.startswith("violation: idx_integration_events_type: ")]) == 1, ran.out
    database.psql("CREATE INDEX idx_integration_events_type ON app.integration_events (event_type)")
    ran = run(pyinfra, {first: hosts[first]}, "-y", "deploy.verify", "probe_rows=100")
    assert (ran.code, len([line for line in said(ran, first) if line.startswith("probed: ")])) == (0, 8), ran.out


def test_a_check_that_the_role_may_not_run_is_named_while_the_others_run(
    database: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    """Such a host is not called OK: exit 1, red in each report, and skipped where a check has a state of its own."""
    every = readers(database)
    hosts = {name: every[name] for name in ("@postgres/no-tables", "@postgres/usage-and-select")}
    folder = tmp_path / "checks"
    shutil.copytree(checks.packaged(), folder)
    (folder / "future.sql.j2").write_text(FUTURE, encoding="utf-8")
    (folder / "where_from.sql").write_text("SELECT '' AS object, '' AS expected, '' AS actual FROM pg_authid WHERE false")
    words = ("-y", "deploy.verify", f"checks={folder}", f"report={tmp_path / 'report'}")

    refused = {
        "future": "future.sql: 42501: ERROR: permission denied for table integration_events",
        "where_from": "where_from.sql: 42501: ERROR: permission denied for table pg_authid",
    }
    for name, data in hosts.items():
        if name != "@postgres/no-tables":
            database.psql(f'GRANT SELECT ON pg_authid TO "{data["postgres_user"]}"')

    ran = run(pyinfra, hosts, *words)
    assert ran.code == 1
    assert about(ran, "@postgres/no-tables") == [f"not run: {reason}" for reason in refused.values()]
    assert [line[:9] for line in about(ran, "@postgres/usage-and-select")] == ["verified:"]
    assert re.search(r"1 host OK, 1 not:\n.*no-tables.*failed: future\.sql: 42501: ", ran.out), ran.out
    assert_reports(tmp_path / "report", refused)

    database.psql("DROP INDEX app.idx_integration_events_type")
    ran = run(pyinfra, hosts, *words)
    lines = about(ran, "@postgres/no-tables")
    assert [line.split(":")[0] for line in lines] == ["violation", "not run", "not run"], ran.out
    assert_reports(tmp_path / "report", refused)
    database.psql("CREATE INDEX idx_integration_events_type ON app.integration_events (event_type)")

    blind = quoted(str(hosts["@postgres/no-tables"]["postgres_user"]))
    database.psql(f"GRANT SELECT ON app.integration_events, pg_authid TO {blind}; GRANT USAGE ON SCHEMA app TO {blind}")
    ran = run(pyinfra, hosts, *words)
    assert ran.code == 0, ran.out


def assert_reports(folder: Path, refused: dict[str, str]) -> None:
    document = json.loads((folder / "verify.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(files.schema()))
    host = next(host for host in document["hosts"] if host["host"] == "@postgres/no-tables")
    assert host["not_run"] == refused
    assert not set(host["checks"]) & set(refused)
    assert host["status"] == ("violations" if host["violations"] else "failed")
    cases = {
        case.name: case
        for suite in junitparser.JUnitXml.fromfile(str(folder / "verify.xml"))
        if suite.name == "@postgres/no-tables"
        for case in suite
    }
    assert {name: [r.message for r in cases[name].result] for name in refused} == {
        name: [f"not run: {reason}"] for name, reason in refused.items()
    }
    page = (folder / "verify.html").read_text(encoding="utf-8")
    assert "permission denied for table integration_events" in page
    assert "Not wholly verified" in page


def test_a_mutation_is_found_by_a_role_without_any_right_just_as_by_a_superuser(database: Database) -> None:
    """Every third of them."""
    every = schemas(int(database.psql("SHOW server_version_num")) // 10000)
    mutations = dict(list(every.items())[::3])
    role = f"nobody_{database.name}"
    login(database, role)
    database.psql(script(OURS, mutations))
    path = f'ALTER DATABASE "{database.name}" SET search_path = hidden, {next(iter(mutations))}'
    database.psql(f"CREATE SCHEMA hidden; CREATE TABLE hidden.integration_events (); {path}")
    found = []
    for schema in mutations:
        variables = {"schema": schema, "owner": "nobody in particular", "ledger_schema": schema, "ledger_table": "_sqlx_migrations"}
        loaded = checks.load(checks.packaged(), **variables, ledger="", private_schema=False)
        found.append("".join(fragment.sql for fragment in checks.fragments(loaded)))
    sql = f"SET search_path = pg_catalog; {';'.join(found)}"

    def seen(user: str) -> list[str]:
        """Without what a role's own search_path leads to, which does depend on its rights."""
        return [line for line in database.psql(sql, user=user).splitlines() if "search_path of role" not in line]

    assert seen(role) == seen(SUPERUSER)
    assert len(seen(role)) > len(mutations)
    assert any(f"search_path of database {database.name}|in hidden before it" in line for line in seen(role))
