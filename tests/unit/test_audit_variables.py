"""What may be written down of variables: nothing that is named a secret, or named like one, at any depth."""

from __future__ import annotations

from deploy import audit


def test_secrets_are_left_out_by_name_at_any_depth() -> None:
    variables = {
        "region": "eu",
        "db_password": "1",
        "API_KEY": "2",
        "token": "3",
        "primary_key_column": "id",
        "nested": {"secret": "4", "size": 5, "list": [{"passwd": "6", "b": 7}]},
        "listed": "8",
    }
    got = audit.public(variables, ["listed"])
    assert got == {"region": "eu", "primary_key_column": "id", "nested": {"size": 5, "list": [{"b": 7}]}}


def test_no_variables_are_an_empty_mapping() -> None:
    assert audit.public(None, None) == {}
