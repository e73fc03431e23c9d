"""The sentences for what a role lacks, each with the statement to paste; that these help is shown in test_privileges."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.observations import EMPTY, LEDGER, NO_LEDGER, PUBLIC, with_ledger

from deploy.plan import privileges
from deploy.plan.observation import History, Observation
from deploy.plan.target import Target, Targets
from deploy.problems import Problem
from deploy.source.migrations import Migration

NO_SCHEMA = replace(PUBLIC, name=None, exists=False, can_use=False, can_create=False)
TENANT = replace(NO_SCHEMA, name="te nant")

UNREADABLE: dict[str, tuple[dict[str, object], Observation, Problem]] = {
    "no schema on the path": (
        {"migrations": "migrations"},
        replace(EMPTY, schema=NO_SCHEMA),
        Problem("schema", 'no schema of the search_path of role "deployer" exists in database "health"', "set `schema`"),
    ),
    "no such schema": (
        {"schema": "te nant"},
        replace(EMPTY, schema=TENANT),
        Problem(
            "schema",
            'schema "te nant" does not exist in database "health"',
            'run CREATE SCHEMA "te nant" there, or set `schema` to one that exists',
        ),
    ),
    "no such owner": (
        {"owner": "ghost"},
        replace(EMPTY, role=replace(EMPTY.role, owner=None)),
        Problem("privilege", 'role "ghost", the data key `owner`, does not exist', 'run CREATE ROLE "ghost", or set `owner`'),
    ),
    "schema not usable": (
        {},
        replace(EMPTY, schema=replace(PUBLIC, can_use=False)),
        Problem(
            "privilege",
            'role "deployer" may not use schema "public" of database "health"',
            'run GRANT USAGE ON SCHEMA "public" TO "deployer"',
        ),
    ),
    "the ledger's schema not usable": (
        {},
        replace(EMPTY, ledger=replace(NO_LEDGER, target_schema=replace(PUBLIC, name="own", can_use=False))),
        Problem(
            "privilege",
            'role "deployer" may not use schema "own" of database "health"',
            'run GRANT USAGE ON SCHEMA "own" TO "deployer"',
        ),
    ),
    "another table of that name": (
        {},
        with_ledger(mismatch="column checksum is text, not bytea"),
        Problem(
            "ledger-mismatch",
            "public._sqlx_migrations is not SQLx's ledger: column checksum is text, not bytea",
            "rename it, or set `schema` to the one that holds the ledger",
        ),
    ),
    "a ledger of another role": (
        {},
        with_ledger(readable=False, owner="service", privileges=()),
        Problem(
            "privilege",
            'ledger public._sqlx_migrations belongs to role "service", and "deployer" may not read it',
            'run GRANT SELECT ON TABLE "public"."_sqlx_migrations" TO "deployer", or set `owner` to "service"',
        ),
    ),
    "a ledger with row security": (
        {},
        with_ledger(has_row_security=True),
        Problem(
            "privilege",
            'row security may hide rows of ledger public._sqlx_migrations from role "deployer", so what was applied can\'t be told',
            'run ALTER TABLE "public"."_sqlx_migrations" DISABLE ROW LEVEL SECURITY',
        ),
    ),
}


def settings_of(data: dict[str, object]) -> Target:
    """Ours with these settings; the folder of `migrations` is not read."""
    ours = Targets().resolve("@postgres/h", {})
    schema = None if "migrations" in data else "public"
    return replace(ours, settings=replace(ours.settings, **{"schema": schema, **data}))


@pytest.mark.parametrize(("data", "observation", "want"), UNREADABLE.values(), ids=UNREADABLE)
def test_why_the_ledger_can_not_be_read(data: dict[str, object], observation: Observation, want: Problem) -> None:
    assert privileges.ledger_read_problem(settings_of(data), observation) == want


def test_a_ledger_in_order_and_one_still_to_be_made_can_be_read() -> None:
    to_be_made = replace(EMPTY, schema=TENANT, missing_schemas=("te nant",))
    for observation in (with_ledger(), EMPTY, to_be_made):
        assert privileges.ledger_read_problem(settings_of({}), observation) is None


OWNED = {"owner": "service"}
AS_MEMBER = replace(EMPTY.role, owner="service", can_set_owner=False)
AUDIT = {"audit": True}

MISSING: dict[str, tuple[dict[str, object], Observation, Problem]] = {
    "not a member of the owner": (
        OWNED,
        replace(EMPTY, role=replace(AS_MEMBER, is_member=False)),
        Problem(
            "privilege",
            'role "deployer" can\'t act as "service", the data key `owner`',
            'run GRANT "service" TO "deployer", or set `owner`',
        ),
    ),
    "a member that may not act": (
        OWNED,
        replace(EMPTY, role=AS_MEMBER),
        Problem(
            "privilege",
            'role "deployer" can\'t act as "service", the data key `owner`',
            'run GRANT "service" TO "deployer" WITH SET TRUE, or set `owner`',
        ),
    ),
    "a ledger of a superuser": (
        {},
        with_ledger(owner="postgres", owner_is_superuser=True, privileges=("SELECT",)),
        Problem(
            "privilege",
            'ledger public._sqlx_migrations belongs to role "postgres", and "deployer" may not write it',
            'run GRANT INSERT ON TABLE "public"."_sqlx_migrations" TO "deployer"',
        ),
    ),
    "a schema that takes nothing": (
        {},
        replace(EMPTY, schema=replace(PUBLIC, can_create=False)),
        Problem(
            "privilege",
            'role "deployer" may not create in schema "public" of database "health"',
            'run GRANT CREATE ON SCHEMA "public" TO "deployer"',
        ),
    ),
    "a ledger's schema that takes nothing": (
        {},
        replace(EMPTY, ledger=replace(NO_LEDGER, target_schema=replace(PUBLIC, name="own", can_create=False))),
        Problem(
            "privilege",
            'role "deployer" may not create in schema "own" of database "health"',
            'run GRANT CREATE ON SCHEMA "own" TO "deployer"',
        ),
    ),
    "schemas of sqlx.toml": (
        {},
        replace(EMPTY, missing_schemas=("more",), role=replace(EMPTY.role, can_create_schemas=False)),
        Problem(
            "privilege",
            'role "deployer" may not create schema "more" in database "health"',
            'run GRANT CREATE ON DATABASE "health" TO "deployer"',
        ),
    ),
    "an audit trail of another role": (
        AUDIT,
        replace(with_ledger(), history=History(exists=True, writable=False)),
        Problem(
            "privilege",
            'role "deployer" may not write the audit trail public._deploy_history',
            'run GRANT INSERT ON TABLE "public"."_deploy_history" TO "deployer"',
        ),
    ),
}


@pytest.mark.parametrize(("data", "observation", "want"), MISSING.values(), ids=MISSING)
def test_what_a_role_lacks(data: dict[str, object], observation: Observation, want: Problem) -> None:
    got = privileges.missing_privileges(settings_of(data), observation, ("SELECT", "INSERT"), creates_objects=True)
    assert got == want


def test_a_role_that_owns_all_lacks_nothing() -> None:
    for observation in (EMPTY, with_ledger()):
        assert privileges.missing_privileges(settings_of({}), observation, LEDGER.privileges, creates_objects=True) is None


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ([("simple", "")], ("SELECT", "INSERT")),
        ([("up", ""), ("simple", "-- no-transaction")], ("SELECT", "INSERT", "UPDATE", "DELETE")),
        ([("down", "")], ("SELECT", "DELETE")),
        ([("down", ""), ("down", "-- no-transaction")], ("SELECT", "UPDATE", "DELETE")),
    ],
)
def test_what_files_take_on_the_ledger(files: list[tuple[str, str]], want: tuple[str, ...]) -> None:
    made = [Migration(1, "m", kind, "1_m.sql", sql, b"") for kind, sql in files]  # type: ignore[arg-type]
    assert privileges.on_ledger(made) == want
