"""A secret leaves the process only in the SQL for its own server: not on the console, not in a report, in no spelling."""

from __future__ import annotations

import base64
import json
import pprint
from pathlib import Path
from urllib.parse import quote

import pytest
from support.files import write
from support.operator import Pyinfra, Result, ended, run
from support.project import ROOT
from support.servers import PASSWORD, Database
from support.sqlx import HOST, deploy

from deploy import settings
from deploy.errors import RunRefused, SqlError
from deploy.secrets import MASK, Secrets, in_variables

CORE = "Zq7vKx2wPa"
"""Stands in each secret; without base64 or hexadecimal every spelling of them holds it."""
TOKEN = f'it\'s \\ {CORE} "quoted" ü'
LONG = f"{CORE}0123456789" * 40
PEM = f"-----BEGIN KEY-----\n{CORE}AAAA\n{CORE}BBBB\n-----END KEY-----\n"
VARIABLES = {"token": TOKEN, "pem": PEM, "shown": "plain", "db": {"dsn": [f"postgres://x:{CORE}@h/d", LONG], "tls": True}}
NAMES = ["token", "pem", "db"]


def spellings() -> set[str]:
    """Independent of what the package knows of them."""
    found = {CORE, CORE.lower(), CORE.encode().hex(), quote(TOKEN), *base64.encodebytes(PEM.encode()).decode().split()}
    for text in (TOKEN, LONG, CORE):
        raw = text.encode()
        found |= {base64.b64encode(b"x" * offset + raw).decode()[4:][: len(raw)].rstrip("=")[:-4] for offset in range(3)}
    return {spelling for spelling in found if len(spelling) > 6}


def everything(result: Result, *folders: Path) -> str:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return "\n".join([result.out, *(path.read_text(encoding="utf-8") for path in files)])


def assert_hidden(text: str) -> None:
    assert [one for one in sorted(spellings()) if one in text] == []


def source(folder: Path, sql: str) -> dict[str, object]:
    files = {
        "1_fine.sql.j2": "CREATE TABLE fine (v text DEFAULT {{ token | literal }}); -- {{ shown | literal }}\n",
        "2_x.sql.j2": sql,
    }
    return {"migrations": str(write(folder / "migrations", files)), "variables": VARIABLES, "secret_variables": NAMES}


RAISE = """DO $f$ DECLARE v text := {{ token | literal }}; l text := {{ db.dsn[1] | literal }}; BEGIN
    RAISE NOTICE 'notice % %', v, l;
    RAISE WARNING 'base64 % % %', encode(convert_to(v, 'utf8'), 'base64'), encode(convert_to('x' || v, 'utf8'), 'hex'), to_json(v);
    RAISE EXCEPTION 'quoted % %', quote_literal(v), quote_ident(v) USING DETAIL = l || v, HINT = v;
END $f$;
"""
FAILING = {
    "a syntax error on its line": ("SELECT {{ token | literal }} AS a, {{ db.dsn[0] | literal }} wrong here;", "42601"),
    "a line that is cut in the middle of it": (
        "SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxx' || {{ db.dsn[1] | literal }} wrong here;",
        "42601",
    ),
    "one line of several": ("SELECT 1,\n{{ pem | literal }} wrong here;", "42601"),
    "the server's own words, its detail, hint and context": (RAISE, "P0001"),
    "a value of another type": ("SELECT {{ token | literal }}::int;", "22P02"),
    "a row that the server cuts": (
        "CREATE TABLE r (a text CHECK (a = '')); INSERT INTO r VALUES ({{ db.dsn[1] | literal }});",
        "23514",
    ),
    "a name that the server cuts": ("CREATE TABLE {{ db.dsn[1] | ident }} (); SELECT 1/0;", "22012"),
    "a name in lower case that the server cuts": ("SELECT {{ db.dsn[1] | raw_sql }};", "42703"),
    "a piece of it": ("SELECT {{ token | raw_sql }};", "42601"),
    "an error in a function's text": ("DO {{ ('BEGIN PERFORM ' ~ (token | literal) ~ ' wrong here; END') | literal }};", "42601"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_file_that_fails_shows_no_secret(case: str, pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    sql, sqlstate = FAILING[case]
    got = deploy(pyinfra, database, "-vvv", "--diff", "deploy.apply", "report=out", **source(tmp_path, sql))
    assert got.code == 1
    assert sqlstate in got.out and MASK in got.out, got.out
    assert_hidden(everything(got, tmp_path / "out"))
    assert "plain" in got.out


def test_the_caret_stands_below_its_column_and_a_piece_that_the_server_names_is_masked_too() -> None:
    line = f"SELECT '{CORE}', wrong"
    error = SqlError("ERROR: no", "42601", line=1, column=line.index("wrong") + 1, text=line).without(Secrets({"t": [CORE]}))
    summary, shown, caret = error.lines()
    assert summary.startswith("1:22: 42601")
    assert shown.strip() == "SELECT '***', wrong"
    assert shown[caret.index("^") :] == "wrong"
    raw = SqlError('ERROR: syntax error at or near "horse"', "42601", line=1, column=16, text="SELECT correct horse, 1")
    assert raw.without(Secrets({"t": ["correct horse"]})).summary == '1:16: 42601: ERROR: syntax error at or near "***"'


@pytest.mark.parametrize("words", [("-y", "-v"), ("-y", "-vvv", "--debug"), ("--dry", "--diff", "-vv"), ("-y", "--json")])
def test_a_run_shows_no_secret_however_much_it_prints(
    words: tuple[str, ...], pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    data = source(tmp_path, "DO $$ BEGIN RAISE NOTICE '%', {{ token | literal }}; END $$;")
    hosts = {HOST: {**database.data, **data}}
    for verb in ("deploy.apply", "deploy.verify", "deploy.adopt", "deploy.revert", "deploy.purge"):
        got = run(pyinfra, hosts, *words, verb, "report=out")
        assert_hidden(everything(got, tmp_path / "out"))


def test_a_violation_and_the_status_show_no_secret(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    check = """SELECT 'fine'::text AS object, 'none'::text AS expected, pg_get_expr(adbin, adrelid) AS actual FROM pg_attrdef"""
    data = {**source(tmp_path, "SELECT 1;"), "checks": str(write(tmp_path / "checks", {"defaults.sql": check}))}
    got = deploy(pyinfra, database, "deploy.apply", "report=out", **data)
    assert got.code == 1 and f"violation: fine: expected none, found '{MASK}'" in got.out, got.out
    assert MASK in (tmp_path / "out" / "verify.html").read_text(encoding="utf-8")
    assert_hidden(everything(got, tmp_path / "out"))
    status = run(pyinfra, {HOST: {**database.data, **data}}, "fact", "deploy.facts.Status")
    assert MASK in status.out
    assert_hidden(status.out)


def test_what_exec_prints_is_masked(pyinfra: Pyinfra, database: Database) -> None:
    """But for the command itself, which pyinfra repeats as it was typed."""
    data = {**database.data, "variables": VARIABLES, "secret_variables": NAMES}
    escaped = TOKEN.replace("'", "''")
    database.psql(f"CREATE TABLE t AS SELECT '{escaped}' AS v")
    for sql in ("SELECT v FROM t", "SELECT v::int FROM t", "SELECT to_json(v), quote_literal(v), md5('x') FROM t"):
        got = run(pyinfra, {HOST: data}, "exec", "-vvv", "--", sql)
        assert MASK in got.out
        assert_hidden(got.out)


@pytest.mark.parametrize("expression", ["{}[token]", "token.no", "{}[pem] ~ pem", "token ~ 1 + 1", "({}[db.dsn[1]])"])
def test_a_template_that_fails_shows_no_secret(expression: str, pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    got = deploy(pyinfra, database, "-vvv", "deploy.apply", "report=out", **source(tmp_path, "SELECT {{ " + expression + " }};"))
    assert got.code == 1
    assert "2_x.sql.j2:1: " in got.out
    assert_hidden(everything(got, tmp_path / "out"))


def test_render_writes_a_secret_only_when_asked_by_name(pyinfra: Pyinfra, tmp_path: Path) -> None:
    listed = [("@local", source(tmp_path, "SELECT {{ db.dsn[1] | literal }};"))]
    inventory = tmp_path / "local.py"
    inventory.write_text(f"hosts = {pprint.pformat(listed)}\n", encoding="utf-8")
    for words in (["--dry"], ["-y"], ["-y", "-vvv", "--diff"]):
        refused = pyinfra(str(inventory), *words, "deploy.render", "out=out")
        assert refused.code == 1
        sentence = "1_fine.sql would hold the value of the secret variable 'token'; pass with_secrets=true to write it all the same"
        assert sentence in refused.out, refused.out
        assert_hidden(refused.out)
        assert not (tmp_path / "out").exists()
    written = pyinfra(str(inventory), "-y", "-vvv", "deploy.render", "out=out", "with_secrets=true")
    assert written.code == 0
    assert_hidden(written.out)
    assert LONG in (tmp_path / "out" / "2_x.sql").read_text(encoding="utf-8")


def test_a_contract_with_a_secret_is_refused(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    data = source(tmp_path, "SELECT 1;")
    assert deploy(pyinfra, database, "deploy.apply", **data).code == 0
    refused = deploy(pyinfra, database, "-vvv", "deploy.contract", "out=out", **data)
    assert refused.code == 1
    assert "would hold the value of the secret variable 'token'; pass secret_variables=[]" in refused.out, refused.out
    assert_hidden(everything(refused, tmp_path / "out"))
    assert deploy(pyinfra, database, "deploy.contract", "out=out", "secret_variables=[]", **data).code == 0


def test_the_audit_trail_holds_no_secret_also_not_inside_of_another_variable(
    pyinfra: Pyinfra, database: Database, tmp_path: Path
) -> None:
    data = source(tmp_path, "SELECT 1;")
    data["variables"] = {**VARIABLES, "header": f"Bearer {TOKEN}"}
    assert deploy(pyinfra, database, "deploy.apply", audit=True, **data).code == 0
    recorded = database.psql("SELECT variables FROM _deploy_history LIMIT 1")
    assert json.loads(recorded) == {"header": f"Bearer {MASK}", "shown": "plain"}


def test_a_secret_of_the_environment_is_in_no_inventory(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    """pyinfra's `debug-inventory` prints all host data: what stands there can't be hidden by a package."""
    data = source(tmp_path, "SELECT {{ token | literal }} wrong here;")
    hosts = {HOST: {**database.data, **data, "variables": {"shown": "plain"}, "secret_variables": {"token": "HEALTH_TOKEN"}}}
    unset = run(pyinfra, hosts)
    assert ended(unset) == (
        f"{HOST}: the environment variable 'HEALTH_TOKEN' of the secret variable 'token' is not set; set it for this command"
    )
    for words in (["debug-inventory"], ["--json", "debug-inventory"], ["-y", "-vvv", "deploy.apply"]):
        got = run(pyinfra, hosts, *words, HEALTH_TOKEN=TOKEN)
        assert_hidden(got.out)
    assert "42601" in got.out
    assert CORE in database.psql("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'fine'::regclass")


def test_a_password_is_masked_in_what_a_server_says(pyinfra: Pyinfra, database: Database) -> None:
    escaped = PASSWORD.replace("'", "''")
    database.psql(f"CREATE TABLE t AS SELECT '{escaped}'::text AS v, '{quote(PASSWORD, safe='')}'::text AS q")
    sql = "DO $f$ BEGIN RAISE NOTICE 'known: %', (SELECT v FROM t); END $f$; SELECT *, v::int FROM t"
    bare = {key: value for key, value in database.server.environment().items() if key != "PGPASSWORD"}
    string = database.url.replace("postgres://", "postgresql://")
    for data in ({**database.data, "postgres_password": PASSWORD}, {"postgres_conninfo": string}):
        got = pyinfra({HOST: data}, "exec", "-vvv", "--", sql, environment=bare)
        assert "NOTICE: known: ***" in got.out, got.out
        assert "se%cret" not in got.out and "se%25cret" not in got.out


@pytest.mark.parametrize("value", ["abc", 7, ["", "ab"], {"user": "me", "password": CORE}])
def test_a_secret_that_is_too_short_to_be_masked_is_refused_without_being_shown(value: object) -> None:
    with pytest.raises(RunRefused) as refused:
        settings.read("db", {"variables": {"pin": value}, "secret_variables": ["pin"]})
    path = "pin.user" if isinstance(value, dict) else "pin"
    assert str(refused.value) == (
        f"db: a value of the secret variable '{path}' has fewer than 4 characters, too few to be masked; "
        "make it longer, or take its name out of `secret_variables`"
    )


def test_an_empty_value_and_one_that_is_true_or_false_are_no_secrets() -> None:
    read = settings.read("db", {"variables": {"pin": ["", None, True, 8765]}, "secret_variables": ["pin"]})
    assert Secrets(in_variables(read.variables, read.secret_variables)).mask("true, None, 1, 8765") == "true, None, 1, ***"


def test_names_of_secrets_given_as_their_values_are_not_shown() -> None:
    with pytest.raises(RunRefused) as refused:
        settings.read("db", {"secret_variables": {"token": [TOKEN]}})
    assert_hidden(str(refused.value))


def test_nothing_of_the_package_prints_but_by_the_host_of_a_run() -> None:
    """A line that is printed in another way is not masked. The others say nothing but names of ours and folders."""
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "deploy").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(word in line for word in (".host.log", "host.log(", "host.noop(", "log_styled(", "logger.", "echo(", "print("))
    }
    places = sorted(line.split(":")[0] for line in found)
    assert set(places) == {
        "deploy/connectors/database.py",
        "deploy/connectors/pgdatabases.py",
        "deploy/embedded.py",
        "deploy/report/host_run.py",
        "deploy/report/run.py",
    }, found
