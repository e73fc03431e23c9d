"""Each template of the machinery's SQL begins with what goes in and which columns come out."""

from __future__ import annotations

import re

import pytest
from jinja2 import meta

from deploy.statements import TEMPLATES

NAMES = sorted(path.relative_to(TEMPLATES.folder).as_posix() for path in TEMPLATES.folder.rglob("*.sql.j2"))

_HEADER = re.compile(r"\{# in: (?P<variables>[a-z_, ]+);\s+out: (?P<columns>[^#]+) #\}\n")


def used(name: str) -> set[str]:
    """The variables of a template and of all that it includes or imports."""
    tree = TEMPLATES.environment.parse(TEMPLATES.read(name).decode())
    others = [other for other in meta.find_referenced_templates(tree) if other is not None]
    return meta.find_undeclared_variables(tree).union(*map(used, others))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_names_the_variables_that_the_template_uses_and_no_others(name: str) -> None:
    header = _HEADER.match(TEMPLATES.read(name).decode())
    assert header is not None, "it must begin with {# in: VARIABLES; out: COLUMNS #}"
    want = sorted(used(name)) or ["nothing"]
    assert sorted(header["variables"].split(", ")) == want


def test_variables_are_found_behind_an_include() -> None:
    assert {"lock_factor", "create_schemas", "owner"} <= used("status/message.sql.j2")
