"""What a server, a file or host data says is text on a terminal: no control character, no bidi, nothing that nobody sees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pexpect
import pytest
from support.files import write
from support.operator import PYINFRA, Hosts, Pyinfra, inventory_file, said
from support.servers import Database, quoted
from support.sqlx import HOST, deploy

from deploy.text import LONGEST, cut, one_line, printable

pytestmark = pytest.mark.everything

HOSTILE = "\x1b[8mX\x1b]0;own\x07\x9b2J\u202edrow\u2066\u200b\ufeff\x7f\b\rY\n\x1b[2J    [@postgres/db] all is well"
SHOWN = r"\u001b[8mX\u001b]0;own\u0007\u009b2J\u202edrow\u2066\u200b\ufeff\u007f\b\rY\n\u001b[2J    [@postgres/db] all is well"
"""As a line shows it."""
SQL = "convert_from(decode('" + HOSTILE.encode().hex() + "', 'hex'), 'utf8')"
"""An expression of SQL in plain ASCII."""
BIDI = "a\u202e\u2066\u200bb"

_COLOURS = re.compile(r"\x1b\[(0|1|4|22|3[0-7]|9[0-7])m")
"""Those of pyinfra."""


def on_a_terminal(folder: Path, hosts: Hosts | str, words: Iterable[str], environment: Mapping[str, str]) -> str:
    """Every byte that a run writes to a terminal, but for pyinfra's own colours."""
    inventory = hosts if isinstance(hosts, str) else str(inventory_file(folder, hosts))
    out = pexpect.run(
        f"{PYINFRA} {inventory} {' '.join(words)}",
        cwd=str(folder),
        env={**environment, "PYINFRA_PROGRESS": "off", "COLUMNS": "300"},
        timeout=120,
    )
    return _COLOURS.sub("", out.decode().replace("\r\n", "\n"))


def assert_text(out: str, *, shows: str = SHOWN) -> None:
    assert {char for char in out if char != "\n" and not char.isprintable()} == set(), out
    assert shows in out, out


def both(database: Database, tmp_path: Path, *words: str, shows: str = SHOWN, **data: object) -> str:
    """A run on a terminal; the files of its report are text too."""
    hosts = {HOST: {**database.data, **data}}
    out = on_a_terminal(tmp_path, hosts, (*words, "report=out"), database.server.environment())
    assert_text(out, shows=shows)
    for path in (tmp_path / "out").iterdir():
        assert_text(path.read_text(encoding="utf-8"), shows="")
    return out


RAISED = f"""DO $f$ DECLARE h text := {SQL}; BEGIN
    RAISE NOTICE '%', h; RAISE WARNING '%', h;
    RAISE EXCEPTION 'ended by %', h USING DETAIL = h, HINT = h, ERRCODE = 'P0001';
END $f$"""


def test_what_a_migration_raises(database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": RAISED})
    out = both(database, tmp_path, "-y", "-vvv", "deploy.apply", migrations=str(source), shows="P0001")
    for label in ("ended by ", "NOTICE: ", "WARNING: ", "DETAIL: ", "HINT: "):
        assert label + SHOWN[:20] in out, out


@pytest.mark.parametrize("words", [("--dry", "--diff"), ("-y", "-vvv"), ("--dry", "-vv")])
def test_the_sql_of_a_file_and_its_name(words: tuple[str, ...], database: Database, tmp_path: Path) -> None:
    text = HOSTILE.replace("\n", " ").replace("\r", " ")
    source = write(tmp_path / "migrations", {f"1_{BIDI}.sql": f"SELECT 1; -- {text}\n\tSELECT 2;"})
    out = both(database, tmp_path, *words, "deploy.apply", migrations=str(source), shows=r"\u202edrow")
    assert r"1 a\u202e\u2066\u200bb" in out


def test_a_line_with_an_error(database: Database, tmp_path: Path) -> None:
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT /* \x1b[8m\u202e\t*/ wrong"})
    out = both(database, tmp_path, "-y", "deploy.apply", migrations=str(source), shows="42703")
    lines = [line for line in out.splitlines() if "SELECT /*" in line or line.endswith("^")]
    assert lines[1].index("^") == lines[0].index("wrong")


def test_a_violation(database: Database, tmp_path: Path) -> None:
    checks = write(tmp_path / "checks", {"x.sql": f"SELECT {SQL} AS object, {SQL} AS expected, {SQL} AS actual"})
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT 1"})
    data = {"migrations": str(source), "checks": str(checks)}
    for words in (("-y", "deploy.apply"), ("-y", "-vvv", "deploy.verify"), ("--dry", "deploy.verify")):
        both(database, tmp_path, *words, **data)
    document = json.loads((tmp_path / "out" / "verify.json").read_text(encoding="utf-8"))
    assert document["hosts"][0]["violations"][0]["actual"] == HOSTILE  # the same text, as JSON escapes it
    hosts = {HOST: {**database.data, **data}}
    for words in (("fact", "deploy.facts.Status"), ("--json", "fact", "deploy.facts.Status")):
        assert_text(on_a_terminal(tmp_path, hosts, words, database.server.environment()), shows=r"\u202edrow")


def test_names_and_defaults_in_a_schema_that_drifted(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    assert deploy(pyinfra, database, "deploy.apply").code == 0
    text = HOSTILE[:30]
    column, table, index = (quoted(text + end) for end in ("c", "t", "i"))
    database.psql(
        f"ALTER TABLE integration_events RENAME severity TO {column};"
        f"ALTER TABLE integration_health ALTER status SET DEFAULT '{text}';"
        f"CREATE TABLE {table} (); CREATE INDEX {index} ON integration_events ({column});"
        f"ALTER INDEX idx_integration_events_type RENAME TO {quoted(text)};"
    )
    for verb in ("apply", "verify", "adopt", "revert", "purge"):
        both(database, tmp_path, "-y", "-vvv", f"deploy.{verb}", shows=r"X\u001b]0;own" if verb in ("apply", "verify") else "")


def test_exec(database: Database, tmp_path: Path) -> None:
    hosts = {HOST: database.data}
    for sql in (f'"SELECT {SQL} AS x"', f'"SELECT {SQL}::int"'):
        out = on_a_terminal(tmp_path, hosts, ("exec", "--", sql), database.server.environment())
        assert_text(out, shows=r"\u202edrow")


def test_host_data(database: Database, tmp_path: Path) -> None:
    for data in ({"owner": BIDI}, {"schema": BIDI}, {"postgres_dbname": BIDI}, {"postgres_service": BIDI}, {"checks": BIDI}):
        both(database, tmp_path, "-y", "-vvv", "deploy.apply", shows=r"a\u202e\u2066\u200bb", **data)


def test_errors_of_templates_and_of_files(database: Database, tmp_path: Path) -> None:
    cases = {"1_a.sql.j2": "{{ {}['\x1b[8m\u202e'] }}", "1_b.sql.j2": "{% include '\x1b[8m\u202e' %}", f"x{BIDI}_.sql": "SELECT 1"}
    for number, (name, text) in enumerate(cases.items()):
        source = write(tmp_path / f"migrations{number}", {name: text})
        both(database, tmp_path, "-y", "-vvv", "deploy.apply", migrations=str(source), shows="pyinfra error")


def test_a_database_with_a_hostile_name_fails_alone(database: Database, tmp_path: Path) -> None:
    """Or, where nothing in the name is a control character, is deployed."""
    server = database.server
    good, bidi, control = (server.database(f"fleet_{database.name}{end}") for end in ("", BIDI, "\x1b[8m\ny"))
    try:
        service = tmp_path / "services.conf"
        service.write_text(f"[s]\nhost=127.0.0.1\nport={server.port}\nuser=postgres\ndbname=postgres\n", encoding="utf-8")
        environment = server.environment(PGSERVICEFILE=str(service))
        out = on_a_terminal(tmp_path, f"@pgdatabases/s/fleet_{database.name}*", ("-y", "deploy.apply", "report=out"), environment)
        assert_text(out, shows=r"\u001b[8m\ny" + '" holds a control character; rename it')
        assert good.psql("SELECT count(*) FROM _sqlx_migrations") == "1"
        assert bidi.psql("SELECT count(*) FROM _sqlx_migrations") == "1"
    finally:
        for one in (good, bidi, control):
            one.drop()


def test_a_service_with_a_hostile_name_fails_alone(database: Database, tmp_path: Path) -> None:
    service = tmp_path / "services.conf"
    address = f"host=127.0.0.1\nport={database.server.port}\nuser=postgres\ndbname={database.name}\n"
    service.write_text(f"[good]\n{address}[bad\x1b[8m\u202e]\n{address}", encoding="utf-8")
    environment = database.server.environment(PGSERVICEFILE=str(service))
    out = on_a_terminal(tmp_path, "@pgservices/*", ("-y", "deploy.apply", "report=out"), environment)
    assert_text(out, shows=r"\u001b[8m")
    assert database.psql("SELECT count(*) FROM _sqlx_migrations") == "1"


def test_thirty_kilobytes_of_a_server_are_cut_once(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    raised = "DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 30000) USING DETAIL = repeat('y', 30000); END $$"
    source = write(tmp_path / "migrations", {"1_a.sql": raised})
    got = deploy(pyinfra, database, "deploy.apply", "report=out", migrations=str(source))
    message, detail = (line for line in said(got, HOST) if "more characters" in line)
    assert message == "1_a.sql: P0001: " + "ERROR: " + "x" * (LONGEST - 7) + "… (28007 more characters)"
    assert detail == "DETAIL: " + "y" * LONGEST + "… (28000 more characters)"
    assert (tmp_path / "out" / "verify.json").stat().st_size < 8_000


def test_a_violation_is_cut_too(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    checks = write(tmp_path / "checks", {"x.sql": "SELECT 'o' AS object, '' AS expected, repeat('x', 30000) AS actual"})
    source = write(tmp_path / "migrations", {"1_a.sql": "SELECT 1"})
    got = deploy(pyinfra, database, "deploy.apply", migrations=str(source), checks=str(checks))
    assert said(got, HOST)[-1].endswith("… (28000 more characters)")
    assert len(said(got, HOST)[-1]) < 2_100


@pytest.mark.parametrize(
    ("text", "want"),
    {
        "plain, ü, 🦀 and \\ stay": "plain, ü, 🦀 and \\ stay",
        "\x1b[31m\x9b\x7f": r"\u001b[31m\u009b\u007f",
        "a\u202eb\u2069\u200d\u00ad": r"a\u202eb\u2069\u200d\u00ad",
        "\U000e0041\udc80\ufffe": r"\udb40\udc41\udc80\ufffe",
        "admin\ufe00\u3164": r"admin\ufe00\u3164",
        "no\u00a0break": r"no\u00a0break",
    }.items(),
)
def test_what_is_not_visible_is_an_escape_of_json(text: str, want: str) -> None:
    assert printable(text) == want
    assert printable(want) == want
    assert printable("a\nb\t") == "a\nb\\t"
    assert one_line("a\nb\t") == "a\\nb\\t"


def test_a_text_of_the_longest_length_is_whole() -> None:
    assert cut("x" * LONGEST) == "x" * LONGEST
    assert cut("x" * LONGEST + "yz") == "x" * LONGEST + "… (2 more characters)"


def test_json_keeps_its_values() -> None:
    assert json.loads(printable(json.dumps({"a": HOSTILE}, ensure_ascii=False))) == {"a": HOSTILE}


def test_a_name_in_the_inventory_is_text_too(database: Database, tmp_path: Path) -> None:
    out = on_a_terminal(
        tmp_path, {f"@postgres/{BIDI}\x1b[8m": database.data}, ("-y", "deploy.verify"), database.server.environment()
    )
    assert_text(out, shows=r"@postgres/a\u202e\u2066\u200bb\u001b[8m")
