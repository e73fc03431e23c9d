"""Names, types and defaults of inventory data."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import settings
from deploy.errors import Refused

TIMES: list[tuple[object, int]] = [
    ("2s", 2000),
    ("500ms", 500),
    ("500", 500),
    (500, 500),
    (0, 0),
    ("1.5min", 90_000),
    ("1 h", 3_600_000),
    (" 2s ", 2000),
    ("24d", 2_073_600_000),
    ("1500us", 2),
]


@pytest.mark.parametrize(("value", "want"), TIMES)
def test_a_time_is_written_as_in_postgresql_conf(value: object, want: int) -> None:
    assert settings.milliseconds(value) == want


@pytest.mark.parametrize("value", ["fast", "", "-1", -1, "2 weeks", "2S", True, None, "1e3", "nan", "25d", "99999999999h", []])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        settings.milliseconds(value)


@pytest.mark.parametrize("value", ["a", 'a"b', "x'; DROP TABLE y; --", "select", "\\", " ", "é" * 31 + "x", "🐘" * 15 + "abc"])
def test_a_name_of_up_to_63_bytes_is_taken_as_it_is(value: str) -> None:
    assert settings.identifier(value) == value


@pytest.mark.parametrize("value", ["", "x" * 64, "é" * 32, "a\0b", "\ud800", 5, None, True])
def test_a_name_that_postgres_would_cut_or_refuse_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        settings.identifier(value)


def test_the_packaged_source_has_defaults_that_need_no_inventory_data() -> None:
    got = settings.read("db", {})
    assert got.packaged
    assert (got.schema, got.ignore_missing, got.lock_timeout, got.statement_timeout) == ("public", True, 2_000, 60_000)
    assert (got.lock_wait, got.query_budget_ms, got.probe_rows, got.retention_days) == (60_000, 100, 0, 90)
    assert (got.wave, got.max_connections_per_server, got.replay_wait, got.audit) == (0, 8, 30_000, False)


def test_another_source_behaves_as_in_sqlx_unless_told() -> None:
    got = settings.read("db", {"migrations": "elsewhere"})
    assert not got.packaged
    assert (got.schema, got.ignore_missing, got.lock_timeout, got.statement_timeout) == (None, False, 0, 0)
    told = settings.read("db", {"migrations": "elsewhere", "schema": "app", "lock_timeout": "1s", "ignore_missing": True})
    assert (told.schema, told.ignore_missing, told.lock_timeout, told.statement_timeout) == ("app", True, 1_000, 0)


def test_arguments_of_the_verb_win_over_the_data_and_none_means_not_given() -> None:
    got = settings.read("db", {"schema": "data", "owner": None, "wave": 3}, schema="word", wave=None)
    assert (got.schema, got.owner, got.wave) == ("word", None, 3)


def test_unknown_keys_are_none_of_our_business() -> None:
    assert settings.read("db", {"ssh_user": "x", "nginx_port": 80, "Schema": 5}) == settings.read("db", {})


TIME = "expected a time such as '2s', '500ms' or 0"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("query_budget_ms", "fast", "'fast' is not usable: expected a valid integer"),
        ("query_budget_ms", True, "True is not usable: expected a valid integer"),
        ("query_budget_ms", 0, "0 is not usable: expected greater than or equal to 1"),
        ("wave", -1, "-1 is not usable: expected greater than or equal to 0"),
        ("wave", "1", "'1' is not usable: expected a valid integer"),
        ("probe_rows", 1.5, "1.5 is not usable: expected a valid integer"),
        ("max_connections_per_server", 0, "0 is not usable: expected greater than or equal to 1"),
        ("lock_wait", "5 parsecs", f"'5 parsecs' is not usable: {TIME}"),
        ("lock_timeout", True, f"True is not usable: {TIME}"),
        ("statement_timeout", -1, f"-1 is not usable: {TIME}"),
        ("statement_timeout", "30d", "'30d' is not usable: expected a time of at most 24 days"),
        ("lock_wait", [], f"[] is not usable: {TIME}"),
        ("audit", "yes", "'yes' is not usable: expected a valid boolean"),
        ("ignore_missing", 1, "1 is not usable: expected a valid boolean"),
        ("schema", 5, "5 is not usable: expected text"),
        ("schema", "", "'' is not usable: expected a name of 1 to 63 bytes, got 0"),
        ("schema", "ü" * 32, f"{'ü' * 32!r} is not usable: expected a name of 1 to 63 bytes, got 64"),
        ("schema", "a\0b", "'a\\x00b' is not usable: expected a name without control characters"),
        ("schema", "a\nb", "'a\\nb' is not usable: expected a name without control characters"),
        ("owner", "o" * 64, f"{'o' * 64!r} is not usable: expected a name of 1 to 63 bytes, got 64"),
        ("migrations", "", "'' is not usable: expected at least 1 character"),
        ("checks", 7, "7 is not usable: expected a valid string"),
        ("postgres_port", "x", "'x' is not usable: expected a valid integer"),
        ("postgres_port", 70000, "70000 is not usable: expected less than or equal to 65535"),
        ("postgres_password", 5, "that value is not usable: expected a valid string"),
        ("postgres_conninfo", 5, "that value is not usable: expected a valid string"),
    ],
)
def test_an_ill_typed_value_is_refused_by_host_key_and_value(key: str, value: object, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        settings.read("db", {key: value})
    assert str(refused.value) == f"db: data key {key!r}: {reason}"


def test_a_misspelt_connection_key_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Refused) as refused:
        settings.read("db", {"postgres_hots": "x"})
    assert str(refused.value).startswith("db: unknown data key 'postgres_hots'; did you mean 'postgres_host'?")


def test_a_port_may_be_written_as_text() -> None:
    assert settings.read("db", {"postgres_port": "5433"}).postgres_port == 5433


def test_a_path_starts_at_the_home_or_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert settings.expand("~/m") == tmp_path / "home" / "m"
    assert settings.expand("m/../n") == tmp_path / "n"


@pytest.mark.parametrize("key", ["shadow_conninfo"])
def test_a_reserved_key_is_refused_and_not_ignored(key: str) -> None:
    with pytest.raises(Refused) as refused:
        settings.read("db", {key: "user@bastion"})
    assert str(refused.value) == f"db: data key '{key}' is not supported yet; remove it"


def test_the_schema_that_postgres_would_read_as_the_roles_name_is_refused() -> None:
    with pytest.raises(Refused, match="'\\$user' is not usable"):
        settings.read("db", {"schema": "$user"})


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "\ud800"])
@pytest.mark.parametrize("key", ["postgres_dbname", "postgres_service", "postgres_conninfo"])
def test_a_connection_value_that_libpq_would_cut_is_refused_and_not_shown(key: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        settings.read("db", {key: value})
    assert str(refused.value) == f"db: data key '{key}' holds a control character or invalid Unicode; write it without"
