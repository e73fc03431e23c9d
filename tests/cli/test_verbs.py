"""A verb is declared once: its arguments come from its signature, and from the data keys."""

from __future__ import annotations

from typing import Any

import pytest

import deploy
from deploy import settings
from deploy.cli import calls
from deploy.cli.verbs import Verb, verb
from deploy.errors import RunRefused
from deploy.report.run import ReportingVerb

VERBS = {name: value for name, value in vars(deploy).items() if isinstance(value, Verb)}


@verb(reports="completion", aliases={"days": "retention_days"})
def example(suffix: str, to: int | None = None, force: bool = False, out: str = "here", **data: Any) -> None:
    """Show what a verb declares."""


def refusal(*words: str, **given: Any) -> str:
    with pytest.raises(RunRefused) as refused:
        calls.arguments(example, words, given)
    assert refused.value.problem.kind == "arguments"
    return str(refused.value)


def test_arguments_are_told_from_data_keys_and_an_alias_is_expanded() -> None:
    got = calls.arguments(example, (), {"to": 5, "force": True, "schema": "health", "days": 30, "owner": None})
    assert got == ({"to": 5, "force": True}, {"schema": "health", "retention_days": 30, "owner": None})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"to": "x"}, "invalid value 'x' for argument 'to': expected an integer"),
        ({"to": True}, "invalid value True for argument 'to': expected an integer"),
        ({"force": 1}, "invalid value 1 for argument 'force': expected true or false"),
        ({"out": 5}, "invalid value 5 for argument 'out': expected a string"),
        ({"lock_wait": "soon"}, "invalid value 'soon' for argument 'lock_wait': expected a time such as '2s', '500ms' or 0"),
        ({"days": 0}, "invalid value 0 for argument 'days': expected at least 1"),
        ({"variables": 5}, "invalid value for argument 'variables': expected a dictionary"),
        ({"days": 3, "retention_days": 4}, "days=3 and retention_days=4 are the same setting; pass one"),
        ({"postgres_port": 5}, "'postgres_port' is a connection key; set it in the inventory"),
        ({"forse": True}, "unknown argument 'forse'; use one of force"),
        ({"suffix": "x"}, None),
        ({"wave": 1}, None),
    ],
)
def test_what_is_not_declared_or_not_of_its_type_is_refused(given: dict[str, Any], sentence: str | None) -> None:
    known = ", ".join(sorted({"to", "force", "out", "days", "report", *settings.ARGUMENTS}))
    want = sentence or f"unknown argument {next(iter(given))!r}; use one of {known}"
    assert refusal(**given) == f"deploy.example: {want}"


def test_a_word_that_is_not_key_and_value_is_refused() -> None:
    assert refusal("now").startswith("deploy.example: unexpected argument 'now'; expected KEY=VALUE, with one of audit, ")


def test_every_verb_of_the_package_says_what_it_reports() -> None:
    assert VERBS.keys() == {"apply", "verify", "contract", "purge", "revert", "adopt", "render"}
    for name, declared in VERBS.items():
        assert isinstance(declared, ReportingVerb) and declared.name == declared.__name__ == name
        assert declared.__doc__
    assert {name for name, declared in VERBS.items() if declared.reports == "verification"} == {"apply", "verify"}
