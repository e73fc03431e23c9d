"""Names, types and defaults of inventory data."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from deploy import settings
from deploy.errors import RunRefused
from deploy.values import identifier, milliseconds

TIMES: list[tuple[object, int]] = [
    ("2s", 2000),
    ("500ms", 500),
    ("1ms", 1),
    (0, 0),
    ("0", 0),
    ("0s", 0),
    ("1.5min", 90_000),
    ("1 h", 3_600_000),
    (" 2s ", 2000),
    ("24d", 2_073_600_000),
    ("1500us", 2),
]


@pytest.mark.parametrize(("value", "want"), TIMES)
def test_a_time_is_written_as_in_postgresql_conf(value: object, want: int) -> None:
    assert milliseconds(value) == want


@pytest.mark.parametrize("value", ["fast", "", "-1", -1, "2 weeks", "2S", True, None, "1e3", "nan", "25d", "99999999999h", []])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        milliseconds(value)


@pytest.mark.parametrize("value", [3, "3", 1.5, " 500 "])
def test_a_number_without_a_unit_is_refused_with_both_spellings(value: object) -> None:
    number = str(value).strip()
    with pytest.raises(ValueError, match=f"^expected a unit: '{number}s' or '{number}ms'$"):
        milliseconds(value)


def test_a_time_that_would_round_to_no_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a time of at least 1ms, or 0"):
        milliseconds("100us")


@pytest.mark.parametrize("value", ["a", 'a"b', "x'; DROP TABLE y; --", "select", "\\", " ", "é" * 31 + "x", "🐘" * 15 + "abc"])
def test_a_name_of_up_to_63_bytes_is_taken_as_it_is(value: str) -> None:
    assert identifier(value) == value


@pytest.mark.parametrize("value", ["", "x" * 64, "é" * 32, "a\0b", "\ud800", 5, None, True])
def test_a_name_that_postgres_would_cut_or_refuse_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        identifier(value)


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
    """Also those that are near one of ours in one way or another, but are words of their own."""
    others = "ssh_user nginx_port _sudo save schema_name checksum power wave_id max_connections postgresql_port"
    assert settings.read("db", dict.fromkeys(others.split(), 5)) == settings.read("db", {})


MISSPELT = {
    "waves": "wave",
    "Wave": "wave",
    "wvae": "wave",
    "shema": "schema",
    "schemas": "schema",
    "check": "checks",
    "onwer": "owner",
    "migration": "migrations",
    "lock_timeot": "lock_timeout",
    "lock-timeout": "lock_timeout",
    "lockTimeout": "lock_timeout",
    "statment_timeot": "statement_timeout",
    "max_connection_per_servers": "max_connections_per_server",
    "postgress_host": "postgres_host",
    "Postgres_dbname": "postgres_dbname",
    "other_key": "other_keys",
}


@pytest.mark.parametrize(("key", "near"), MISSPELT.items())
def test_a_misspelt_key_is_refused_with_what_was_meant_and_the_way_out(key: str, near: str) -> None:
    with pytest.raises(RunRefused) as refused:
        settings.read("db", {key: None, near: settings.DEFAULTS[near]})
    assert str(refused.value) == (
        f"db: unknown data key {key!r}; did you mean {near!r}? If it is another deploy's, list it in 'other_keys'"
    )


def test_keys_of_other_deploys_are_left_alone_by_name() -> None:
    assert settings.read("db", {"schemas": [], "check": 1, "other_keys": ["schemas", "check"]}).schema == "public"
    with pytest.raises(RunRefused, match="unknown data key 'shema'"):
        settings.read("db", {"schemas": [], "shema": 1, "other_keys": ["schemas"]})
    with pytest.raises(RunRefused, match=r"unknown data key 'postgres_hots'; did you mean 'postgres_host'\?$"):
        settings.read("db", {"postgres_hots": 1, "other_keys": ["schemas"]})


TIME = "expected a time such as '2s', '500ms' or 0"
LINE = "expected text without control characters and invalid Unicode"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("query_budget_ms", "fast", "expected an integer"),
        ("query_budget_ms", True, "expected an integer"),
        ("query_budget_ms", 0, "expected at least 1"),
        ("wave", -1, "expected at least 0"),
        ("wave", "1", "expected an integer"),
        ("probe_rows", 1.5, "expected an integer"),
        ("max_connections_per_server", 0, "expected at least 1"),
        ("batch_rows", 1_000_000, "expected at most 100000"),
        ("lock_wait", "5 parsecs", TIME),
        ("lock_timeout", True, TIME),
        ("statement_timeout", -1, TIME),
        ("statement_timeout", "30d", "expected a time of at most 24 days"),
        ("lock_wait", [], TIME),
        ("audit", "yes", "expected true or false"),
        ("ignore_missing", 1, "expected true or false"),
        ("schema", 5, "expected a string"),
        ("schema", "", "expected a name of 1 to 63 bytes, got 0"),
        ("schema", "ü" * 32, "expected a name of 1 to 63 bytes, got 64"),
        ("schema", "a\0b", "expected a name without control characters"),
        ("schema", "a\nb", "expected a name without control characters"),
        ("schema", "$user", "Postgres reads it as the role's name; name the schema"),
        ("owner", "o" * 64, "expected a name of 1 to 63 bytes, got 64"),
        ("migrations", "", "expected at least 1 character"),
        ("migrations", "\ud800", "expected valid Unicode"),
        ("checks", 7, "expected a string"),
        ("lock_timeout", 3, "expected a unit: '3s' or '3ms'"),
        ("replay_wait", "30", "expected a unit: '30s' or '30ms'"),
        ("migrations", "~nobody/x", "'~nobody' is the home of a user by name; write the whole path"),
        ("checks", "~no-such-user", "'~no-such-user' is the home of a user by name; write the whole path"),
        ("postgres_ssh_key", "~nobody/key", "'~nobody' is the home of a user by name; write the whole path"),
        ("postgres_host", "", "expected at least 1 character"),
        ("postgres_service", "", "expected at least 1 character"),
        ("postgres_port", "", "expected an integer"),
        ("postgres_port", "x", "expected an integer"),
        ("postgres_port", 70000, "expected at most 65535"),
        ("postgres_dbname", "a\0b", LINE),
        ("postgres_service", "a\nb", LINE),
        ("postgres_host", "\ud800", LINE),
    ],
)
def test_an_ill_typed_value_is_refused_by_host_key_and_value(key: str, value: object, reason: str) -> None:
    with pytest.raises(RunRefused) as refused:
        settings.read("db", {key: value})
    assert str(refused.value) == f"db: invalid value {value!r} for data key {key!r}: {reason}"
    assert refused.value.problem.kind == "settings"


@pytest.mark.parametrize(("value", "reason"), [("", "expected at least 1 character"), ("  ", "expected more than spaces")])
def test_an_empty_connection_string_would_lead_to_the_servers_of_the_environment(value: str, reason: str) -> None:
    with pytest.raises(RunRefused, match=f"^db: invalid value for data key 'postgres_conninfo': {reason}$"):
        settings.read("db", {"postgres_conninfo": value})


@pytest.mark.parametrize("value", [5, "s3cr3t\0", "s3cr3t\n", "s3cr3t\ud800"])
@pytest.mark.parametrize("key", ["postgres_password", "postgres_conninfo", "variables", "secret_variables"])
def test_a_secret_is_refused_without_being_shown(key: str, value: object) -> None:
    with pytest.raises(RunRefused, match=f"^db: invalid value for data key '{key}': expected [^5]*$") as refused:
        settings.read("db", {key: value})
    assert "s3cr3t" not in str(refused.value)


def test_a_misspelt_connection_key_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RunRefused) as refused:
        settings.read("db", {"postgres_hots": "x"})
    assert str(refused.value).startswith("db: unknown data key 'postgres_hots'; did you mean 'postgres_host'?")


def test_a_port_may_be_written_as_text() -> None:
    assert settings.read("db", {"postgres_port": "5433"}).postgres_port == 5433


def test_a_path_starts_at_the_home_or_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert settings.resolve_path("~/m") == tmp_path / "home" / "m"
    assert settings.resolve_path("m/../n") == tmp_path / "n"


def test_a_path_that_leads_nowhere_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("~nobody/x", "a\0b"):
        with pytest.raises(RunRefused, match=r"^invalid path '.*': [^\n]+$"):
            settings.resolve_path(path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(RunRefused, match="there is no home directory for '~'; write the whole path"):
        settings.resolve_path("~/m")


def test_each_key_is_declared_with_one_sentence_and_a_default_that_its_type_allows() -> None:
    assert settings.KEYS.keys() == {field.name for field in fields(settings.Settings)}
    for name, key in settings.KEYS.items():
        assert key.sentence and "\n" not in key.sentence and not key.sentence.endswith(".")
        if name in settings.ANOTHER_SOURCE and key.another is not None:
            settings.check_argument(name, name, key.another)


def test_a_verb_takes_each_key_but_those_that_are_read_before_it_is_called() -> None:
    assert settings.KEYS.keys() - set(settings.ARGUMENTS) - settings.CONNECTION_KEYS.keys() == {
        "wave",
        "max_connections_per_server",
        "other_keys",
    }
