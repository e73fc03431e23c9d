"""Each template of the machinery's SQL begins with what goes in and which columns come out."""

from __future__ import annotations

import re

import pytest
from jinja2 import meta

from deploy.statements import rendering

TEMPLATES = sorted(path.relative_to(rendering.OWN).as_posix() for path in rendering.OWN.rglob("*.sql.j2"))

_HEADER = re.compile(r"\{# in: (?P<variables>[a-z_, ]+);\s+out: (?P<columns>[^#]+) #\}\n")


def used(name: str) -> set[str]:
    """The variables of a template and of all that it includes or imports."""
    environment = rendering.environment(rendering.OWN)
    assert environment.loader is not None
    tree = environment.parse(environment.loader.get_source(environment, name)[0])
    others = [other for other in meta.find_referenced_templates(tree) if other is not None]
    return meta.find_undeclared_variables(tree).union(*map(used, others))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_header_names_the_variables_that_the_template_uses_and_no_others(name: str) -> None:
    header = _HEADER.match((rendering.OWN / name).read_text(encoding="utf-8"))
    assert header is not None, "it must begin with {# in: VARIABLES; out: COLUMNS #}"
    want = sorted(used(name)) or ["nothing"]
    assert sorted(header["variables"].split(", ")) == want


def test_variables_are_found_behind_an_include() -> None:
    assert {"lock_factor", "create_schemas", "owner"} <= used("status/message.sql.j2")
