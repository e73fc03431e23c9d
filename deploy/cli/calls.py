"""A call of a verb, once a host: its arguments are checked, the run begins, then its body declares operations."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import pyinfra
from pydantic import TypeAdapter, ValidationError

from deploy import settings
from deploy.cli import failure, waves
from deploy.cli.verbs import Verb
from deploy.connectors.postgres import PostgresConnector
from deploy.errors import RunRefused
from deploy.problems import Problem
from deploy.report.run import CommandLine, Run


def call(verb: Verb, words: Sequence[Any], report: Any, given: Mapping[str, Any]) -> None:
    """Run the verb for the current host. Raises RunRefused for what can't be done on any host, before anything is written."""
    state, host = pyinfra.state, pyinfra.host
    run = Run.attach(state)
    if run.command_line is not None:
        _refuse_flags(run.command_line)
        if run.command_line.dry:
            state.check_for_changes = True  # with -y pyinfra would plan nothing and exit 0
    elif report is not None and pyinfra.is_cli:
        raise _refused(verb, f"report={report}: no @postgres host in this run, so there is nothing to report")
    own, data = arguments(verb, words, given)
    Run.current(host).target(**data)
    run.begin(verb, data, report)
    if verb.only_postgres and not isinstance(host.connector, PostgresConnector):
        text = f"deploy.{verb.name} needs a @postgres host, and {host.name} is not one"
        failure.fail_in_plan(Problem("unsupported", text, "name it @postgres/NAME in the inventory"))
    elif verb.waves:
        waves.run(lambda suffix: verb.body(suffix, **own, **data))
    else:
        verb.body("", **own, **data)


def check(verb: Verb, line: CommandLine, words: Sequence[Any], given: Mapping[str, Any]) -> None:
    """Before any connection: the flags and arguments of the verb that the command line names. Raises RunRefused."""
    _refuse_flags(line)
    arguments(verb, words, given)


_REFUSED_FLAGS = {
    "no_wait": "a host that fails would end with exit code 0",
    "serial": "hosts would run one by one, in no order and without waves",
}
"""Flags of pyinfra that lose failures or waves."""


def _refuse_flags(line: CommandLine) -> None:
    for flag, reason in _REFUSED_FLAGS.items():
        if getattr(line, flag):
            text = f"--{flag.replace('_', '-')} is not supported: {reason}"
            raise RunRefused(Problem("arguments", text, "leave it out, and use --parallel 1 to go host by host"))


def arguments(verb: Verb, words: Sequence[Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The verb's own arguments and the data keys among `given`. Raises RunRefused for the first word that is neither."""
    types = get_type_hints(verb.body)
    declared = [
        name for name, parameter in inspect.signature(verb.body).parameters.items() if parameter.default is not parameter.empty
    ]
    known = sorted({*declared, *settings.ARGUMENTS, *verb.aliases, "report"})
    for word in words:
        raise _refused(verb, f"unexpected argument {word!r}; expected KEY=VALUE, with one of {', '.join(known)}")
    own, data = {}, {}
    for word, value in given.items():
        key = verb.aliases.get(word, word)
        if key in settings.CONNECTION_KEYS:
            raise _refused(verb, f"{word!r} is a connection key; set it in the inventory")
        if word not in known:
            near = difflib.get_close_matches(word, known, 1)
            raise _refused(verb, f"unknown argument {word!r}; use one of {', '.join(near or known)}")
        if word != key and key in given:
            raise _refused(verb, f"{word}={value} and {key}={given[key]} are the same setting; pass one")
        if key in declared:
            own[key] = _checked(verb, key, value, types[key])
        else:
            if value is not None:
                _check_data(verb, word, key, value)
            data[key] = value
    return own, data


def _checked(verb: Verb, key: str, value: Any, type_: Any) -> Any:
    try:
        return TypeAdapter(type_).validate_python(value, strict=True)
    except ValidationError as error:
        raise _refused(verb, f"invalid value {value!r} for argument {key!r}: {settings.expected(error.errors()[0])}") from None


def _check_data(verb: Verb, word: str, key: str, value: Any) -> None:
    try:
        settings.check_argument(word, key, value)
    except ValueError as error:
        raise _refused(verb, str(error)) from None


def _refused(verb: Verb, text: str) -> RunRefused:
    return RunRefused(Problem("arguments", f"deploy.{verb.name}: {text}"))
