"""`report=DIR` and the console's summary under pyinfra's own command line, on real servers."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest
from support.files import write
from support.operator import PYINFRA, Pyinfra
from support.servers import PASSWORD, Database, Server, free_port
from support.sqlx import DEPLOYED
from support.terminal import in_terminal

from deploy.report import files

pytestmark = [pytest.mark.usefixtures("password"), pytest.mark.server]

DRIFT = "ALTER TABLE integration_health ALTER status TYPE text"
VIOLATION = "integration_health.status: expected character varying(20) NOT NULL, found text NOT NULL"


@pytest.fixture
def deployed(database: Database) -> Database:
    database.psql(DEPLOYED)
    return database


@pytest.fixture
def drifted(server: Server, deployed: Database) -> Database:
    other = server.database()
    other.psql(DEPLOYED + DRIFT)
    return other


def unreachable() -> dict[str, object]:
    return {"postgres_host": "127.0.0.1", "postgres_port": free_port(), "postgres_dbname": "none"}


def read(folder: Path) -> dict[str, Any]:
    """The JSON of a report by host, after all three files were found to be well-formed and of one mind."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(files.VERIFICATION)
    document = json.loads((folder / "verify.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(files.schema()))
    hosts = {host["host"]: host for host in document["hosts"]}
    suites = {suite.name: suite for suite in junitparser.JUnitXml.fromfile(str(folder / "verify.xml"))}
    assert suites.keys() == hosts.keys()
    for name, suite in suites.items():
        assert (suite.errors > 0) == bool(hosts[name]["problems"])
        assert (suite.failures > 0) == bool(hosts[name]["violations"])
    page = (folder / "verify.html").read_text(encoding="utf-8")
    assert all(name in page for name in hosts)
    return {**document, "hosts": hosts}


def error(host: dict[str, Any]) -> str:
    """What the operator saw of a host that failed."""
    (problem,) = host["problems"]
    return "; ".join(filter(None, (problem["text"], problem["next"])))


def test_a_report_holds_what_each_host_was_found_to_be(
    deployed: Database, drifted: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    hosts = {"@postgres/well": deployed.data, "@postgres/ill": drifted.data, "@postgres/gone": unreachable()}
    done = pyinfra(hosts, "-y", "deploy.verify", "report=out")
    got = read(tmp_path / "out")
    assert done.code == 1
    assert (got["verb"], got["dry"]) == ("verify", False)
    well, ill, gone = (got["hosts"][name] for name in hosts)
    assert (well["status"], well["problems"], well["violations"]) == ("ok", [], [])
    assert (well["database"], well["role"]) == (deployed.name, "primary")
    assert well["server_version"] == deployed.psql("SHOW server_version")
    assert {"ledger", "contract", "owners", "search_path"} <= set(well["checks"]) == set(got["checks"])
    assert ill["status"] == "violations"
    assert [f"{v['object']}: expected {v['expected']}, found {v['actual']}" for v in ill["violations"]] == [VIOLATION]
    assert gone["status"] == "not_reached"
    assert gone["problems"][0]["kind"] == "connection"
    assert error(gone) in [line.strip() for line in done.lines("@postgres/gone")]
    assert f"--> Report: {tmp_path / 'out' / 'verify.html'}, with verify.xml and verify.json beside it" in done.out


def test_an_apply_that_migrates_is_reported_as_verified(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    assert pyinfra({"@postgres/a": database.data}, "-y", "deploy.apply", "report=out").code == 0
    got = read(tmp_path / "out")
    assert (got["verb"], got["hosts"]["@postgres/a"]["status"]) == ("apply", "ok")


def test_a_report_is_written_when_no_host_can_be_reached(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra({"@postgres/a": unreachable(), "@postgres/b": unreachable()}, "-y", "deploy.verify", "report=deep/er")
    got = read(tmp_path / "deep" / "er")
    assert done.code == 1 and "No hosts remaining!" in done.out
    assert got["summary"]["not_reached"] == 2
    assert len(got["checks"]) >= 4, "the checks that were to run are the columns of the page"
    for name in ("@postgres/a", "@postgres/b"):
        assert error(got["hosts"][name]).startswith("can't connect to 127.0.0.1:")
        assert error(got["hosts"][name]) in done.out


@pytest.mark.parametrize("flags", [["-y"], ["--dry"]], ids=" ".join)
def test_a_report_is_written_when_every_host_failed(flags: list[str], database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra({"@postgres/a": database.data}, *flags, "deploy.apply", "schema=nowhere", "report=out")
    host = read(tmp_path / "out")["hosts"]["@postgres/a"]
    assert done.code == 1
    assert host["status"] == "failed"
    assert error(host).startswith('schema "nowhere" does not exist in database')
    assert error(host) in done.lines("@postgres/a")
    assert host["server_version"] is not None
    assert (host["checks"], host["violations"]) == ([], [])


def test_a_dry_run_claims_nothing_of_what_it_would_migrate_and_what_it_has_seen_of_the_rest(
    server: Server, database: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    target = server.database()
    assert pyinfra({"@postgres/b": target.data}, "-y", "deploy.apply").code == 0
    done = pyinfra({"@postgres/a": database.data, "@postgres/b": target.data}, "--dry", "deploy.apply", "report=out")
    got = read(tmp_path / "out")
    pending, at_target = got["hosts"]["@postgres/a"], got["hosts"]["@postgres/b"]
    assert done.code == 0 and got["dry"]
    assert (pending["status"], pending["checks"]) == ("not_verified", [])
    assert pending["not_verified"] == "1 migration(s) pending, nothing was applied"
    assert at_target["status"] == "ok"
    assert "--> 1 host OK, 1 not verified" in done.out
    assert database.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'integration%'") == "0"


def test_a_migration_that_fails_is_an_error_and_not_a_verification(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"1_fails.sql": "SELECT 1/0;\n"})
    pyinfra({"@postgres/a": database.data}, "-y", "deploy.apply", f"migrations={source}", "report=out")
    host = read(tmp_path / "out")["hosts"]["@postgres/a"]
    assert host["status"] == "failed"
    assert host["problems"][0]["kind"] == "statement"
    assert "22012: ERROR: division by zero" in error(host)


def test_a_source_without_checks_is_not_called_ok(database: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"1_one.sql": "SELECT 1;\n"})
    pyinfra({"@postgres/a": database.data}, "-y", "deploy.apply", f"migrations={source}", "report=out")
    host = read(tmp_path / "out")["hosts"]["@postgres/a"]
    assert (host["status"], host["not_verified"]) == ("not_verified", "this source has no contract")


def test_a_run_that_is_refused_replaces_an_older_report_by_the_reason(deployed: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    hosts = {"@postgres/a": deployed.data}
    assert pyinfra(hosts, "-y", "deploy.verify", "report=out").code == 0
    done = pyinfra(hosts, "-y", "deploy.verify", "query_budget_ms=fast", "report=out")
    host = read(tmp_path / "out")["hosts"]["@postgres/a"]
    assert done.code == 1
    assert error(host) == "deploy.verify: invalid value 'fast' for argument 'query_budget_ms': expected an integer"
    assert error(host) in done.out


def test_a_folder_that_can_not_be_written_refuses_the_run_before_any_connection(
    database: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("", encoding="utf-8")
    done = pyinfra({"@postgres/a": database.data}, "-y", "deploy.apply", "report=out")
    assert done.code == 1
    assert "--> pyinfra error: report=out: File exists; choose a folder that can be written" in done.out
    assert "Connecting" not in done.out
    assert database.statements() == []


def test_the_folder_is_read_as_pyinfra_reads_arguments(deployed: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    for words, folder in (('[[], {"report": "out"}]', "out"), ("report=7", "7")):
        assert pyinfra({"@postgres/a": deployed.data}, "-y", "deploy.verify", words).code == 0
        assert read(tmp_path / folder)["summary"]["ok"] == 1


def test_a_deploy_file_of_the_users_own_can_ask_for_a_report(drifted: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import deploy\n\ndeploy.verify(report='out')\n", encoding="utf-8")
    done = pyinfra({"@postgres/a": drifted.data, "@postgres/b": drifted.data}, "-y", "mine.py")
    assert read(tmp_path / "out")["summary"]["violations"] == 2
    assert "--> 0 hosts OK, 2 not:" in done.out


def test_hosts_outside_of_the_limit_are_not_in_the_report(deployed: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    hosts = {"@postgres/a": deployed.data, "@postgres/b": unreachable()}
    assert pyinfra(hosts, "-y", "--limit", "@postgres/a", "deploy.verify", "report=out").code == 0
    assert read(tmp_path / "out")["hosts"].keys() == {"@postgres/a"}


def test_a_host_of_another_connector_is_in_the_report(deployed: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    pyinfra({"@postgres/a": deployed.data, "@local": {}}, "-y", "deploy.verify", "report=out")
    hosts = read(tmp_path / "out")["hosts"]
    assert error(hosts["@local"]).startswith("deploy.verify needs a @postgres host, and @local is not one")
    assert hosts["@postgres/a"]["status"] == "ok"


def test_a_password_is_in_no_file_of_a_report(deployed: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    hosts = {
        "@postgres/a": {**deployed.data, "postgres_password": PASSWORD},
        "@postgres/b": {**deployed.data, "postgres_password": "wrong-s3cret"},
    }
    pyinfra(hosts, "-y", "deploy.verify", "report=out")
    read(tmp_path / "out")
    for name in files.VERIFICATION:
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "wrong-s3cret" not in text and PASSWORD not in text and "se%cret" not in text


def test_under_json_standard_output_holds_pyinfras_document_only(deployed: Database, pyinfra: Pyinfra, tmp_path: Path) -> None:
    pyinfra({"@postgres/a": deployed.data, "@postgres/b": deployed.data}, "-y", "deploy.verify")
    command = [PYINFRA, "--json", "-y", "inventory.py", "deploy.verify", "report=out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["results"]["failed_hosts"] == []
    assert "--> 2 hosts OK" in done.stderr


@pytest.mark.everything
def test_the_run_of_200_hosts_ends_with_the_3_that_are_broken(
    deployed: Database, drifted: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    hosts = {f"@postgres/db-{number:03}": deployed.data for number in range(1, 201)}
    hosts["@postgres/db-057"] = hosts["@postgres/db-140"] = drifted.data
    hosts["@postgres/db-113"] = unreachable()
    done = pyinfra(hosts, "-y", "deploy.verify", "report=out")
    summary = done.out[done.out.index("--> Disconnecting from hosts...") :].splitlines()
    assert done.code == 1
    assert [line.rstrip() for line in summary[1:4]] == [
        "--> 197 hosts OK, 3 not:",
        f"    @postgres/db-057  1 violation: {VIOLATION}",
        f"    @postgres/db-113  not reached: {error(read(tmp_path / 'out')['hosts']['@postgres/db-113'])}",
    ]
    assert summary[4].rstrip() == f"    @postgres/db-140  1 violation: {VIOLATION}"
    assert done.out.index("--> Results:") < done.out.index("--> 197 hosts OK")
    assert read(tmp_path / "out")["summary"]["ok"] == 197


def test_in_a_terminal_violations_are_aligned_where_they_fit_and_each_is_one_line(
    drifted: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    drifted.psql("DROP INDEX idx_integration_events_occurred_at")
    pyinfra({"@postgres/one": drifted.data, "@postgres/two": drifted.data}, "-y", "deploy.verify")
    violation = re.compile(r"    \[@postgres/(?:one|two)\] violation: (.*)")
    _, out = in_terminal([PYINFRA, "-y", "inventory.py", "deploy.verify"], tmp_path, 200)
    lines = violation.findall(out)
    assert len(lines) == 4
    assert len({(line.index("expected "), line.index("found ")) for line in lines}) == 1
    _, out = in_terminal([PYINFRA, "-y", "inventory.py", "deploy.verify"], tmp_path, 80)
    assert violation.findall(out).count(VIOLATION) == 2
    summary = out[out.index("--> 0 hosts OK, 2 not:") :].splitlines()[1:3]
    assert all(len(line) <= 80 and line.endswith("…") for line in summary)


@pytest.mark.parametrize("verb", ["revert", "adopt"])
def test_a_verb_that_verifies_nothing_reports_the_outcome_of_each_host(
    verb: str, deployed: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    hosts = {"@postgres/done": deployed.data, "@postgres/gone": unreachable()}
    done = pyinfra(hosts, "-y", f"deploy.{verb}", "report=out")
    got = read(tmp_path / "out")
    assert (done.code, got["verb"], got["verifies"], got["checks"]) == (1, verb, False, [])
    assert (got["hosts"]["@postgres/done"]["status"], got["hosts"]["@postgres/done"]["database"]) == ("ok", deployed.name)
    assert got["hosts"]["@postgres/gone"]["status"] == "not_reached"


def test_without_a_postgres_host_a_report_is_refused_in_a_sentence(pyinfra: Pyinfra, tmp_path: Path) -> None:
    done = pyinfra("@local", "-y", "deploy.verify", "report=out")
    assert done.code == 1
    assert "deploy.verify: report=out: no @postgres host in this run, so there is nothing to report" in done.out
    assert not (tmp_path / "out").exists()


def test_the_word_for_an_argument_that_is_nearly_report_names_it(deployed: Database, pyinfra: Pyinfra) -> None:
    done = pyinfra({"@postgres/a": deployed.data}, "-y", "deploy.verify", "reprot=out")
    assert done.code == 1
    assert "deploy.verify: unknown argument 'reprot'; use one of report" in done.out
