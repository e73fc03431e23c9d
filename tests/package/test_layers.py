"""Rules for the source itself that neither import-linter nor ruff can say."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT

import deploy

MODULES = sorted((ROOT / "deploy").rglob("*.py"))
OURS = [*ROOT.glob("*.py"), *(path for folder in ("deploy", "inventories", "tests") for path in (ROOT / folder).rglob("*.py"))]

_STATEMENT = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|GRANT|REVOKE|SET|BEGIN|COMMIT|LOCK|TRUNCATE|COPY|DO|ANALYZE)\s"
)


def composed_sql(source: str) -> list[int]:
    """Lines on which text that begins as an SQL statement is put together by an f-string, %, + or format."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(first)), *_]):
                pass
            case ast.BinOp(left=ast.Constant(value=str(first)), op=ast.Mod() | ast.Add()):
                pass
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(first)), attr="format")):
                pass
            case _:
                continue
        if _STATEMENT.match(first):
            found.append(node.lineno)
    return found


def test_the_search_for_composed_sql_finds_it() -> None:
    source = 'f"SELECT {x}"\nf"""\n  DROP TABLE {x}"""\n"SET x = %s" % x\n"SET x = {}".format(x)\nf"run GRANT {x}"\n"SELECT 1"\n'
    assert composed_sql(source) == [1, 2, 4, 5]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sql_is_put_together_in_python(module: Path) -> None:
    assert composed_sql(module.read_text(encoding="utf-8")) == []


def test_a_module_is_shorter_than_three_hundred_lines() -> None:
    assert [str(path) for path in OURS if path.read_text(encoding="utf-8").count("\n") >= 300] == []


def test_nothing_shadows_the_package() -> None:
    assert not [path for path in OURS if path.name == "deploy.py"]
    assert deploy.__file__ is not None and Path(deploy.__file__).name == "__init__.py"


def test_importing_the_connectors_is_quick_and_brings_in_no_driver() -> None:
    """pyinfra imports them in every run of its environment, also in runs that have nothing to do with us."""
    code = """
import json, sys, time
import pyinfra_cli.main
before = set(sys.modules)
start = time.process_time()
import deploy.connectors.pgdatabases, deploy.connectors.pgservices, deploy.connectors.postgres
print(json.dumps([time.process_time() - start, sorted(set(sys.modules) - before)]))
"""
    done = subprocess.run([sys.executable, "-Wignore", "-c", code], check=True, capture_output=True, text=True)
    seconds, brought = json.loads(done.stdout)
    connectors = [f"deploy.connectors.{name}" for name in ("pgdatabases", "pgservices", "postgres")]
    assert brought == ["deploy", "deploy.cli", "deploy.cli.verbs", "deploy.connectors", *connectors]
    assert seconds < 0.05


def test_the_connector_leaves_patching_for_gevent_to_pyinfras_command_line() -> None:
    code = "import deploy.connectors.postgres, deploy.operations, deploy.report.run; from gevent import monkey; print(monkey.saved)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "{}"
