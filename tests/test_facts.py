"""`fact deploy.facts.Status`: what a host is, or one problem with its kind, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.operator import Hosts, Pyinfra, run
from support.project import VERSION
from support.servers import Database
from support.sqlx import LEDGER, row

ONE = "@postgres/one"


def status(pyinfra: Pyinfra, hosts: Hosts) -> Any:
    out = run(pyinfra, hosts, "fact", "deploy.facts.Status").out
    document, _ = json.JSONDecoder().raw_decode(out[out.index("\n{\n") + 1 :])
    return document


def test_an_empty_host_has_all_pending_and_no_problem(pyinfra: Pyinfra, database: Database) -> None:
    got = status(pyinfra, {ONE: database.data})[ONE]
    assert (got["role"], got["applied"], got["pending"]) == ("primary", [], [VERSION])
    assert {"check": "contract", "object": "integration_events", "expected": "table", "actual": "missing"} in got["drift"]
    assert (got["kind"], got["problem"], got["error"]) == (None, None, None)


def test_what_apply_would_refuse_is_a_sentence_with_its_kind(pyinfra: Pyinfra, database: Database) -> None:
    database.psql(LEDGER + row(VERSION, success=False))
    got = status(pyinfra, {ONE: database.data})[ONE]
    want = (
        f"migration {VERSION} is partially applied; fix and remove row from `_sqlx_migrations` table; then run deploy.apply again"
    )
    assert (got["kind"], got["problem"], got["error"]) == ("ledger-dirty", want, None)


def test_what_keeps_a_host_from_being_read_is_too(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "x.sql").write_text("SELECT wrong")
    hosts = {
        "@postgres/source": {**database.data, "migrations": str(tmp_path / "none")},
        "@postgres/check": {**database.data, "checks": str(tmp_path / "checks")},
    }
    assert status(pyinfra, hosts) == {
        "@postgres/source": {
            "kind": "source",
            "error": f"{tmp_path / 'none'}: no such folder of migrations; set `migrations` to one that exists",
        },
        "@postgres/check": {"kind": "statement", "error": 'x.sql:1:8: 42703: ERROR: column "wrong" does not exist'},
    }
