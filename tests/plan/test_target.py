"""A run's targets: each is resolved once, and what many hosts share is read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import write

from deploy.errors import RunRefused
from deploy.plan.target import Targets

FILES = {"1_a.sql.j2": "CREATE TABLE {{ name | ident }} ()"}


def data(folder: Path, **more: object) -> dict[str, object]:
    return {"migrations": str(folder), "variables": {"name": "a"}, **more}


def test_the_same_data_and_arguments_give_the_same_target(tmp_path: Path) -> None:
    targets, folder = Targets(), write(tmp_path / "s", FILES)
    one = targets.resolve("@postgres/one", data(folder, owner="o"), lock_wait="1s")
    assert targets.resolve("@postgres/two", data(folder, owner="o", of_another_deploy=object()), lock_wait="1s") is one
    assert targets.resolve("@postgres/one", data(folder, owner="o")) is not one
    assert targets.resolve("@postgres/one", data(folder, owner="p"), lock_wait="1s") is not one


def test_hosts_with_other_data_share_what_was_read_of_the_same_source(tmp_path: Path) -> None:
    targets, folder = Targets(), write(tmp_path / "s", FILES)
    one, two = (targets.resolve("@postgres/h", data(folder, postgres_host=name)) for name in ("one", "two"))
    assert one.source is two.source
    other = targets.resolve("@postgres/h", data(folder, variables={"name": "b"}))
    assert [made.source.migrations[0].sql for made in (one, other)] == ['CREATE TABLE "a" ()', 'CREATE TABLE "b" ()']


def test_a_file_that_changes_is_seen_by_the_next_run_and_not_by_this_one(tmp_path: Path) -> None:
    targets, folder = Targets(), write(tmp_path / "s", {"1_a.sql": "SELECT 1"})
    checks = write(tmp_path / "c", {"x.sql": "SELECT 1"})
    keys = {"migrations": str(folder), "checks": str(checks)}
    targets.resolve("@postgres/one", keys)
    write(folder, {"1_a.sql": "SELECT 2"})
    write(checks, {"x.sql": "SELECT 2"})

    def sql(targets: Targets) -> set[str]:
        made = targets.resolve("@postgres/two", {**keys, "wave": 1})
        return {made.source.migrations[0].sql, made.checks[0].sql}

    assert sql(targets) == {"SELECT 1"}
    assert sql(Targets()) == {"SELECT 2"}


def test_a_refusal_names_the_host_that_it_is_about() -> None:
    targets = Targets()
    for host in ("@postgres/one", "@postgres/two"):
        with pytest.raises(RunRefused, match=f"^{host}: ") as refused:
            targets.resolve(host, {"wave": "soon"})
        assert refused.value.problem.kind == "settings"


def test_variables_that_are_not_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunRefused) as refused:
        Targets().resolve("@postgres/h", {"migrations": str(tmp_path), "variables": {"a": {1, 2}}})
    assert str(refused.value) == ("data key 'variables': contains a value that is not JSON; use texts, numbers, lists and mappings")


def test_the_packaged_contract_and_checks_are_those_of_the_packaged_source(tmp_path: Path) -> None:
    folders = {name: str(write(tmp_path / name, {file: text})) for name, file, text in (
        ("checks", "x.sql", "SELECT 1"), ("migrations", "1_a.sql", "SELECT 1"), ("contract", "1.toml", "[table.t]")
    )}  # fmt: skip
    ours = Targets().resolve("@postgres/h", {})
    assert ours.check_names == ("ledger", "contract", "owners", "search_path")
    assert Targets().resolve("@postgres/h", {"checks": folders["checks"]}).contracts == ours.contracts
    other = Targets().resolve("@postgres/h", {"migrations": folders["migrations"]})
    assert (other.contracts, other.checks, other.queries, other.check_names) == ((), (), (), ("ledger",))
    assert Targets().resolve("@postgres/h", folders).check_names == ("ledger", "contract", "x")
