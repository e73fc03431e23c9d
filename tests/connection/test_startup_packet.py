"""The startup packet carries nothing that a pooler refuses: PgBouncer 1.25 says so in other words than 1.18, others in others."""

from __future__ import annotations

from pathlib import Path

from support.files import write
from support.operator import Pyinfra
from support.roundtrips import proxy
from support.servers import Database
from support.sqlx import HOST

TAKEN = {"user", "database", "application_name", "client_encoding"}
"""What PgBouncer takes in any version, without `ignore_startup_parameters`."""

PROTOCOL_3 = (196608).to_bytes(4, "big")


def startup_parameters(sent: bytes) -> dict[str, str]:
    """Those of the startup packet in what a client sent, which may have asked for TLS first."""
    packet = sent[sent.index(PROTOCOL_3) - 4 :]
    body = packet[8 : int.from_bytes(packet[:4], "big")].rstrip(b"\0").decode().split("\0")
    return dict(zip(body[::2], body[1::2], strict=True))


def test_a_run_sends_no_parameter_that_poolers_refuse(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    source = write(
        tmp_path / "migrations", {"1_a.sql": "CREATE TABLE a AS SELECT current_setting('TimeZone') AS zone", "2_b.sql": "SELECT 1"}
    )
    with proxy(database.server.port) as between:
        data = {**database.data, "postgres_port": between.port, "lock_timeout": "2s", "statement_timeout": "60s"}
        for words in (("-y", "deploy.apply", f"migrations={source}"), ("exec", "--", "SHOW timezone")):
            got = pyinfra({HOST: data}, *words, environment=database.server.environment())
            assert got.code == 0, got.out
        assert '[{"TimeZone": "UTC"}]' in got.lines(HOST)
        links = between.links
    assert len(links) == 2
    assert all(startup_parameters(bytes(link.sent)).keys() <= TAKEN for link in links)
    assert database.psql("SELECT zone FROM a") == "UTC"
