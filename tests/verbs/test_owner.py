"""`owner` with three roles: the deployer logs in and acts as the owner, the owner has everything and never logs in, the service
runs the real sqlx with the same files and works with the rows."""

from __future__ import annotations

from dataclasses import dataclass

from support.operator import Pyinfra, Result, run, said
from support.project import MIGRATION, ROOT, VERSION
from support.servers import Database, login, quoted
from support.sqlx import sqlx_prints
from support.versions import every_version


@dataclass(frozen=True)
class Three:
    """A database whose schema `app` is the owner's. The deployer inherits nothing."""

    database: Database
    deployer: dict[str, object]
    owner: str
    service: str

    def owners(self) -> str:
        """Of everything in the schema."""
        return self.database.psql(
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'app'::regnamespace"
        )

    def the_service_has_nothing_to_do_and_works(self) -> None:
        for word, want in (("run", ""), ("info", f"{VERSION}/installed create integration health tables")):
            assert sqlx_prints(self.database, ROOT / "migrations", word, user=self.service) == want
        rows = """SET search_path = app;
            INSERT INTO integration_events (integration_id, event_type, severity, occurred_at)
                VALUES ('vrbo', 'booking_loss', 'low', now()), ('vrbo', 'booking_loss', 'low', now() - interval '100 days');
            INSERT INTO integration_health (integration_id, status, last_checked) VALUES ('vrbo', 'healthy', now());
            UPDATE integration_health SET status = 'warning';
            SELECT status, (SELECT count(*) FROM integration_events) FROM integration_health;
            DELETE FROM integration_health"""
        assert self.database.psql(rows, user=self.service) == "warning|2"


MEMBER = 'GRANT {owner} TO "{service}"'
GRANTED = """GRANT USAGE, CREATE ON SCHEMA app TO "{service}";
    ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{service}" """


def three(database: Database, grants: str) -> Three:
    owner, service, deployer = (f"{kind} {database.name}" for kind in ('Own"er', "service", "dep'loyer"))
    role = quoted(owner)
    data = login(database, deployer, options="NOINHERIT")
    login(database, service)
    database.psql(
        f"""CREATE ROLE {role} NOLOGIN; GRANT {role} TO "{deployer}"; CREATE SCHEMA app AUTHORIZATION {role};
        REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER ROLE "{service}" IN DATABASE {database.name} SET search_path = app;
        {grants.format(owner=role, service=service)}"""
    )
    return Three(database, {**data, "schema": "app", "owner": owner}, owner, service)


@every_version
def test_what_the_deployer_does_belongs_to_the_owner_and_serves_the_service(
    database: Database, neighbour: Database, pyinfra: Pyinfra
) -> None:
    """Every verb. The service is a member of the owner, or was granted what it does, also on what the owner is going to make;
    it verifies too, with the owner in the data as whom it may not act where it was only granted."""
    cases = {"@postgres/member": three(database, MEMBER), "@postgres/granted": three(neighbour, GRANTED)}

    def deploy(*words: str) -> Result:
        result = run(pyinfra, {host: case.deployer for host, case in cases.items()}, "-y", *words)
        assert result.code == 0, result.out
        return result

    applied = deploy("deploy.apply", "audit=true")
    for host, case in cases.items():
        assert f'new objects and ledger "app"."_sqlx_migrations" will belong to role "{case.owner}"' in said(applied, host)
        assert case.owners() == case.owner
        case.the_service_has_nothing_to_do_and_works()

    again = deploy("deploy.apply", "audit=true")
    assert (again.change("Migrate"), again.change("Verify")) == ("no change", "no change")
    services = {host: {**case.deployer, "postgres_user": case.service} for host, case in cases.items()}
    assert run(pyinfra, services, "-y", "deploy.verify").code == 0

    purged = deploy("deploy.purge")
    for host in cases:
        assert any(line.startswith("deleted 1 row of integration_events in ") for line in said(purged, host)), purged.out

    deploy("deploy.revert", "allow_data_loss=true", "audit=true")
    for case in cases.values():
        assert case.database.psql("SELECT to_regclass('app.integration_events'), count(*) FROM app._sqlx_migrations") == "|0"
        case.database.psql(f"SET ROLE {quoted(case.owner)}; SET search_path = app; {MIGRATION.read_text(encoding='utf-8')}")

    assert deploy("deploy.adopt", "audit=true").change("Adopt") == "success"
    for case in cases.values():
        assert case.database.psql("SELECT action FROM app._deploy_history ORDER BY id").split() == ["apply", "revert", "adopt"]
        assert case.owners() == case.owner
        case.the_service_has_nothing_to_do_and_works()
