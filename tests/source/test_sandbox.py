"""A source is data: its templates reach nothing but their folder and variables, and a variable gets into SQL quoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from support.files import write
from support.operator import Pyinfra, ended, run
from support.servers import Database

from deploy.errors import RunRefused
from deploy.plan.target import qualified
from deploy.source import checks, migrations, queries
from deploy.statements.rendering import Templates


def rendered(folder: Path, template: str, **variables: Any) -> str:
    """A migration with this text after a first line, rendered."""
    write(folder, {"1_x.sql.j2": f"SELECT 1;\n{template}"})
    return migrations.load(folder, variables).migrations[0].sql.removeprefix("SELECT 1;\n")


def refusal(folder: Path, template: str, **variables: Any) -> str:
    """Why it is refused, after the folder."""
    with pytest.raises(RunRefused) as refused:
        rendered(folder, template, **variables)
    assert refused.value.problem.kind == "source"
    return str(refused.value).removeprefix(f"{folder.resolve()}/")


RUNS_CODE = [
    "{{ cycler.__init__.__globals__.os.popen('touch PATH').read() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% set x = joiner.__init__.__globals__ %}",
    "{{ self.__init__.__globals__['__builtins__']['open']('PATH', 'w') }}",
    "{{ ('{0.__class__.__init__.__globals__}'.format(cycler)) | raw_sql }}",
    "{{ (x | attr('__class__')) | raw_sql }}",
    "{{ x.append('more') | raw_sql }}",
    "{{ lipsum() | raw_sql }}",
    "{{ x | random | raw_sql }}",
]


@pytest.mark.parametrize("template", RUNS_CODE)
def test_a_template_runs_no_code_and_changes_no_variable(template: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    got = refusal(tmp_path / "m", template.replace("PATH", str(touched)), x=["a"])
    assert got.startswith("1_x.sql.j2:2: ")
    assert not touched.exists()


def test_a_check_is_a_template_in_the_same_sandbox(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    text = f"SELECT {{{{ cycler.__init__.__globals__.os.popen('touch {touched}').read() }}}}"
    with pytest.raises(RunRefused, match="is unsafe"):
        checks.load(write(tmp_path / "c", {"x.sql.j2": text}), schema="public")
    assert not touched.exists()


def test_no_code_of_a_source_runs_under_dry(pyinfra: Pyinfra, database: Database, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    text = f"SELECT {{{{ cycler.__init__.__globals__.os.popen('touch {touched}').read() }}}}"
    source = write(tmp_path / "theirs", {"1_x.sql.j2": text})
    result = run(pyinfra, {"@postgres/db": {**database.data, "migrations": str(source)}}, "--dry", "deploy.apply")
    assert not touched.exists()
    assert (result.code, ended(result)) == (
        1,
        f"{source}/1_x.sql.j2:1: template error: access to attribute '__init__' of 'type' object is unsafe.",
    )


EVIL = "x'; DROP TABLE y; --"

UNQUOTED = {
    "{{ name }}": "name",
    "{{ rows[0].name }}": "rows[0].name",
    "{{ rows[0]['name'] }}": "rows[0]['name']",
    "-- {{ name }}": "name",
    "{{ name | upper }}": "name | upper",
    "{{ 'a' ~ name }}": "…",
    "{{ 'a' + name }}": "…",
    "{{ 'a%s' % name }}": "…",
    "{{ 'a%s' | format(name) }}": "'a%s' | format",
    "{{ 'a{}'.format(name) }}": "'a{}'.format(…)",
    "{{ names | join(', ') }}": "names | join",
    "{{ ['a', name] | join(', ') }}": "… | join",
    "{{ rows | join(', ', attribute='name') }}": "rows | join",
    "{{ ['a', 'b'] | join(name) }}": "['a', 'b'] | join",
    "{{ name if true else 'a' }}": "…",
    "{{ 'a' if false else name }}": "…",
    "{{ name | default('a') }}": "name | default",
    "{{ (name | literal) | replace(\"'\", '') }}": "name | literal | replace",
    '{{ name | literal | trim("\'") }}': "name | literal | trim",
    "{{ name | safe }}": "name | safe",
    "{{ name | e }}": "name | e",
    "{{ name | tojson }}": "name | tojson",
    "{{ names }}": "names",
    "{{ nothing }}": "nothing",
    "{{ minus }}": "minus",
    "{{ minus ~ 1 }}": "…",
    "{{ range }}": "range",
    "{% set copy = name %}{{ copy }}": "copy",
    "{% for one in names %}{{ one }}{% endfor %}": "one",
    "{% for key in rows[0] %}{{ key }}{% endfor %}": "key",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(name) }}": "x",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ name }}{% endcall %}": "name",
    "{% call name.format() %}{% endcall %}": "name.format(…)",
    "{% filter replace('a', name) %}a{% endfilter %}": "filter replace",
    "{% filter replace('a', name) | indent %}a{% endfilter %}": "filter replace",
    "{% filter indent | replace('a', name) %}a{% endfilter %}": "filter replace",
    "{% filter upper %}{% filter replace('a', name) %}a{% endfilter %}{% endfilter %}": "filter replace",
    "{% set block %}{{ name }}{% endset %}{{ block }}": "name",
    "{% set ns = namespace(x=name) %}{{ ns.x }}": "ns.x",
    "{% set j = joiner(name) %}{{ j() }}{{ j() }}": "j(…)",
    "{% set c = cycler(name) %}{{ c.next() }}": "c.next(…)",
    "{% with x = name %}{{ x }}{% endwith %}": "x",
    "{% autoescape true %}{{ name }}{% endautoescape %}": "name",
    "{% for x in [1] %}{{ loop.cycle(name) }}{% endfor %}": "loop.cycle(…)",
}

VARIABLES = {"name": EVIL, "names": [EVIL, "b"], "rows": [{"name": EVIL}], "nothing": None, "minus": -1}


@pytest.mark.parametrize(("template", "expression"), UNQUOTED.items(), ids=UNQUOTED.keys())
def test_a_variable_gets_into_the_sql_quoted_or_not_at_all(template: str, expression: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, template, **VARIABLES) == (
        f"1_x.sql.j2:2: {{{{ {expression} }}}} would get into the SQL unquoted; "
        "write `| literal` for a value, `| ident` for a name, `| raw_sql` for SQL that you trust"
    )


PASSES = {
    "{{ name | literal }}": "'x''; DROP TABLE y; --'",
    "{{ name | ident }}": '"x\'; DROP TABLE y; --"',
    "{{ name | raw_sql }}": EVIL,
    "{{ ('a_' ~ name) | ident }}": '"a_x\'; DROP TABLE y; --"',
    "{{ nothing | literal }} {{ minus | literal }}": "NULL  -1",
    "{% set kind = 'x' %}{{ kind | literal }} {{ kind | ident | literal }}": "'x' '\"x\"'",
    "{{ names | map('ident') | join(', ') }}": '"x\'; DROP TABLE y; --", "b"',
    "{{ rows | map(attribute='name') | map('literal') | join(',\n') | indent }}": "'x''; DROP TABLE y; --'",
    "{{ 'a' }}{{ 'a' ~ 'b' }}{{ none }}{{ true }}{{ -1 }}{{ 'ab' | upper }}": "aabNoneTrue-1AB",
    "{{ 'a' ~ (name | ident) ~ 1 }}": 'a"x\'; DROP TABLE y; --"1',
    "{{ '%s(%03d)' % ('v', one) }} {{ '%s' | format('v') }}{{ ' x ' | trim }}": "v(001) vx",
    "{{ one }} {{ one + 1 }} {{ half }} {{ yes }}": "1 2 0.5 True",
    "{% for n in range(1, 3) %}{{ n }}{{ loop.index }}{{ ', ' if not loop.last else '' }}{% endfor %}": "11, 22",
    "{% for type in ['int', 'text'] %}{{ type }}{{ loop.cycle(';', '.') }}{% endfor %}": "int;text.",
    "{% for k, v in {'a': ['b'], 'c': ('d', 1)}.items() %}{{ k }}{{ v[0] }}{% endfor %}": "abcd",
    "{% set sep = joiner('+') %}{% for n in [1, 2] %}{{ sep() }}{{ n }}{% endfor %}": "1+2",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}": "ab",
    "{% set kind = 'text' %}{{ kind }} {{ kind + 's' }} {{ kind * 2 }} {{ nothing or kind }}": "text texts texttext text",
    "{% macro col(n, t='int') %}{{ n | ident }} {{ t }}{% endmacro %}{{ col('a') }}, {{ col('b', 'text') }}": '"a" int, "b" text',
    "{% macro m() %}({{ caller() }}){% endmacro %}{% call m() %}{{ name | literal }}{% endcall %}": "('x''; DROP TABLE y; --')",
    "{% set block %}{{ one }},\n{{ one }}{% endset %}{{ block }};{{ block | indent(2) }}": "1,\n1;1,\n  1",
    "{% filter upper %}select {{ one }}{% endfilter %}": "SELECT 1",
    "{% include 'part' %}{% from 'macros' import m %}{{ m() }}{% import 'macros' as all %}{{ all.m() }}": "part 1mm",
    "{% extends 'base' %}{% block b %}{{ super() }}child{% endblock %}": "[basechild]",
    "{% for row in rows recursive %}r{{ loop([]) }}{% endfor %}": "r",
    "{% raw %}{{ name }}{% endraw %}{# {{ name }} #}": "{{ name }}",
}


@pytest.mark.parametrize(("template", "want"), PASSES.items(), ids=PASSES.keys())
def test_what_is_quoted_or_the_templates_own_passes(template: str, want: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        {"part": "part {{ one }}", "macros": "{% macro m() %}m{% endmacro %}", "base": "[{% block b %}base{% endblock %}]"},
    )
    if template.startswith("{% extends"):
        write(tmp_path, {"1_x.sql.j2": template})
        got = migrations.load(tmp_path, {}).migrations[0].sql
    else:
        got = rendered(tmp_path, template, **VARIABLES, one=1, half=0.5, yes=True)
    assert got == want


@pytest.mark.parametrize("folder", [migrations.packaged(), checks.packaged(), queries.packaged()], ids=lambda folder: folder.name)
def test_the_packaged_templates_render_to_the_same_bytes_as_without_the_sandbox(folder: Path) -> None:
    names = {"ledger": qualified("s", "l"), "ledger_schema": "s", "ledger_table": "l"}
    given = {"schema": "public", "owner": "o", "private_schema": True, **names}
    plain = Templates(folder, environment=jinja2.Environment)
    for path in folder.glob("*.sql.j2"):
        got = Templates(folder).render(path.name, **given, query_budget_ms=100)
        assert got == plain.render(path.name, **given, query_budget_ms=100)


OUTSIDE = ["{% include NAME %}", "{% import NAME as x %}", "{% from NAME import x %}", "{% extends NAME %}", "{% include [NAME] %}"]


@pytest.mark.parametrize("template", OUTSIDE)
def test_a_template_reads_nothing_outside_of_its_folder(template: str, tmp_path: Path) -> None:
    write(tmp_path, {"secret": "s3cr3t"})
    source = write(tmp_path / "m", {"link": tmp_path / "secret", "up": tmp_path})
    for name in ("../secret", "/etc/passwd", "link", "up/secret", "x/../../secret", str(tmp_path / "secret")):
        got = refusal(source, template.replace("NAME", "name"), name=name)
        assert "s3cr3t" not in got
        assert got.startswith("1_x.sql.j2:2: ")
    assert refusal(source, template.replace("NAME", "'link'")) == (
        "1_x.sql.j2:2: template 'link' is outside of the folder; put a copy into it"
    )


def test_a_template_that_is_a_link_out_of_its_folder_is_refused_and_one_within_it_is_rendered(tmp_path: Path) -> None:
    write(tmp_path, {"elsewhere": "SELECT 1"})
    source = write(tmp_path / "m", {"1_x.sql.j2": tmp_path / "elsewhere"})
    with pytest.raises(RunRefused, match=r"m/1_x\.sql\.j2: template '1_x\.sql\.j2' is outside of the folder"):
        migrations.load(source)
    (source / "1_x.sql.j2").unlink()
    write(source, {"data": "SELECT 2", "1_x.sql.j2": Path("data")})
    assert migrations.load(source).migrations[0].sql == "SELECT 2"
    (tmp_path / "linked").symlink_to(source)
    assert migrations.load(tmp_path / "linked").migrations[0].sql == "SELECT 2"


TOO_MUCH = [
    "{% for n in range(10**9) %}{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ [0] * 10**10 }}",
    "{{ 10**9999 }}",
    "{% for n in range(99999) %}{% for m in range(99999) %}0123456789012345678901234567890123456789{% endfor %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for n in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x='aa') %}{% for n in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=3) %}{% for n in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include '1_x.sql.j2' %}",
]


@pytest.mark.parametrize("template", TOO_MUCH)
def test_a_template_that_makes_too_much_is_refused(template: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, template).startswith("1_x.sql.j2:")
