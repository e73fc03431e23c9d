"""The rules that the layers keep, read from the source itself."""

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

MODULES = sorted((ROOT / "deploy").glob("*.py"))
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


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_no_sql_is_put_together_in_python(module: Path) -> None:
    assert composed_sql(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", [path for path in MODULES if path.name != "session.py"], ids=lambda path: path.name)
def test_only_the_connectors_session_opens_connections(module: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))) if isinstance(node, ast.Attribute)]
    connects = [ast.unparse(node) for node in calls if node.attr == "connect" and "onnection" in ast.unparse(node.value)]
    assert connects == []
    assert not [node for node in calls if ast.unparse(node) == "psycopg.connect"]


PURE = [
    "server",
    "replay",
    "retention",
    "purged",
    "plan",
    "rights",
    "denied",
    "observation",
    "target",
    "ledger",
    "checks",
    "migrations",
    "templates",
    "settings",
    "conninfo",
    "bastion",
]


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_knows_no_pyinfra_host_and_no_connection(name: str) -> None:
    tree = ast.parse((ROOT / "deploy" / f"{name}.py").read_text(encoding="utf-8"))
    imported = {
        f"{node.module}.{alias.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert not imported & {
        "pyinfra.host",
        "pyinfra.state",
        "deploy.session",
        "deploy.connector",
        "deploy.operations",
        "deploy.facts",
    }


def test_a_module_is_shorter_than_three_hundred_lines() -> None:
    assert [str(path) for path in OURS if path.read_text(encoding="utf-8").count("\n") >= 300] == []


def test_nothing_shadows_the_package() -> None:
    assert not [path for path in OURS if path.name == "deploy.py"]
    assert deploy.__file__ is not None and Path(deploy.__file__).name == "__init__.py"


def test_importing_the_connector_is_quick_and_brings_in_no_driver() -> None:
    """pyinfra imports it in every run of its environment, also in runs that have nothing to do with us."""
    code = """
import json, sys, time
import pyinfra_cli.main
before = set(sys.modules)
start = time.process_time()
import deploy.connector
print(json.dumps([time.process_time() - start, sorted(set(sys.modules) - before)]))
"""
    done = subprocess.run([sys.executable, "-Wignore", "-c", code], check=True, capture_output=True, text=True)
    seconds, brought = json.loads(done.stdout)
    assert brought == ["deploy", "deploy.connector"]
    assert seconds < 0.05


def test_the_connector_leaves_patching_for_gevent_to_pyinfras_command_line() -> None:
    code = "import deploy.connector, deploy.operations, deploy.recorder; from gevent import monkey; print(monkey.saved)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "{}"
