"""A server or a database that answers with nonsense is one host that fails, in a few lines, and the host beside it is done."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import psycopg.sql
import pytest
from support.files import write
from support.hostile_server import Answer, error, listening, message, rows
from support.operator import Hosts, Pyinfra, Result, has_tables, run, said
from support.servers import PASSWORD, Database, Server, quoted
from support.sessions import pinned_session

pytestmark = pytest.mark.everything

BAD, GOOD = "@postgres/bad", "@postgres/good"
LONG = "".join(f"\x1b[31m{number} \r\n" for number in range(3_000))

ANSWERS: dict[str, Answer] = {
    "rows-of-another-kind": lambda sql: rows({"surprise": "1"}, {"surprise": "2"}),
    "columns-of-ours-with-other-values": lambda sql: rows(
        {name: "\x1b[31mno" for name in ("server", "server_version", "ledger_exists", "locked", "check", "kind", "expired", "rows")}
    ),
    "nulls": lambda sql: rows(dict.fromkeys(("server", "server_version", "ledger_exists", "events_before", "kind", "objects"))),
    "no-rows": lambda sql: message(b"C", b"BEGIN\0"),
    "nothing": lambda sql: message(b"I"),
    "a-long-error": lambda sql: error(LONG),
    "an-error-of-ours": lambda sql: error(LONG, "DP002"),
    "a-copy": lambda sql: message(b"H", b"\0\0\0") + message(b"d", b"x") + message(b"c") + message(b"C", b"COPY 1\0"),
    "a-million-columns-of-one-name": lambda sql: rows({f"c{n % 3}{'x' * (n % 7)}": "1" for n in range(1_500)}),
}

VERBS = (
    ("--dry", "deploy.apply"),
    ("-y", "deploy.apply"),
    ("-y", "deploy.verify", "probe_rows=10"),
    ("-y", "deploy.purge"),
    ("-y", "deploy.adopt"),
    ("fact", "deploy.facts.Status"),
    ("-y", "deploy.revert", "to=0"),
)


def assert_short(ran: Result, *hosts: str) -> None:
    for host in hosts:
        lines = said(ran, host)
        assert sum(map(len, lines)) < 8_000, lines
    assert not [line for line in ran.out.splitlines() if not line.isprintable()], ran.out


def test_whatever_servers_answer_the_host_beside_them_is_done(database: Database, pyinfra: Pyinfra) -> None:
    with ExitStack() as stack:
        ports = {f"@postgres/{name}": stack.enter_context(listening(answer)) for name, answer in ANSWERS.items()}
        login = {"postgres_host": "127.0.0.1", "postgres_user": "x", "postgres_conninfo": "sslmode=disable gssencmode=disable"}
        bad: Hosts = {name: {**login, "postgres_port": port, "lock_wait": "200ms"} for name, port in ports.items()}
        for words in VERBS:
            ran = run(pyinfra, {**bad, GOOD: database.data}, *words)
            assert_short(ran, *bad)
            if words[0] == "fact":
                facts = json.loads(ran.out[ran.out.index("\n{\n") : ran.out.index("\n}\n") + 2])
                assert {name: fact["error"] is None for name, fact in facts.items()} == {**dict.fromkeys(bad, False), GOOD: True}
                continue
            assert ran.code == 1, ran.out
            failed = [name for name in bad if not said(ran, name)]
            assert failed == [], ran.out
            assert f", {len(bad)} not" in ran.out, ran.out
        assert has_tables(database) is False  # the last verb has reverted it


def test_a_long_error_of_a_file_is_cut_and_is_its_hosts_alone(
    database: Database, neighbour: Database, pyinfra: Pyinfra, tmp_path: Path
) -> None:
    raising = "DO $$ BEGIN RAISE EXCEPTION '%', repeat(E'\\x1b[31mno\\n', 5000) USING DETAIL = repeat('d', 30000); END $$"
    source = str(write(tmp_path / "migrations", {"1_a.sql": raising}))
    ran = run(pyinfra, {BAD: {**database.data, "migrations": source}, GOOD: neighbour.data})
    assert ran.code == 1
    assert has_tables(neighbour)
    assert_short(ran, BAD)


def test_a_database_with_a_control_character_in_its_name_fails_alone(
    server: Server, database: Database, pyinfra: Pyinfra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed like any other, and its name is shown with the character spelt out."""
    names = [f"{database.name}_{ending}" for ending in ("\x1b[31mred", "two\nlines", "bell\x07")]
    services = tmp_path / "services.conf"
    services.write_text(f"[app]\nhost=127.0.0.1\nport={server.port}\nuser=postgres\n", encoding="utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pinned_session(database) as session:
        for name in names:
            session.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        try:
            ran = pyinfra(f"@pgdatabases/app/{database.name}*", "-y", "deploy.apply")
        finally:
            for name in names:
                session.execute(f"DROP DATABASE {quoted(name)}".encode())
    assert ran.code == 1, ran.out
    assert has_tables(database), ran.out
    assert ran.out.count("control character") >= len(names), ran.out
    assert not [line for line in ran.out.splitlines() if not line.isprintable()], ran.out
