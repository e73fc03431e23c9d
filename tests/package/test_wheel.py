"""What a user installs: the wheel, in an environment and a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support.operator import PYINFRA, Pyinfra, inventory_file, without_colours
from support.project import MIGRATION, ROOT
from support.servers import Database


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `pyinfra` of a fresh environment that has the wheel; what the wheel depends on is taken from the tests' own."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = folder / "bin" / "pyinfra"
    ours = Path(PYINFRA).read_text().split("\n", 1)
    script.write_text(f"#!{python}\n{ours[1]}")
    script.chmod(0o755)
    return script


def run(script: Path, folder: Path, *words: str, environment: dict[str, str] | None = None) -> str:
    """The output of the installed pyinfra in `folder`; it must succeed."""
    done = subprocess.run(
        [str(script), *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    out = without_colours(done.stdout)
    assert done.returncode == 0, out
    return out


def test_the_wheel_holds_the_package_and_its_templates_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {
        f"deploy/{path.relative_to(ROOT / 'deploy')}" for path in (ROOT / "deploy").rglob("*") if path.suffix in (".py", ".j2")
    }
    templates = {f"deploy/{path.relative_to(ROOT)}" for path in (ROOT / "sql_templates").rglob("*") if path.is_file()}
    assert {name for name in names if name.endswith((".py", ".j2", ".toml"))} == modules | templates
    assert {Path(name).parts[0] for name in names} == {"deploy"}


def test_the_installed_package_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    code = "import deploy.source.sql_templates as t; print(t.__file__); print(t.folder())"
    python = installed.parent / "python"
    lines = subprocess.run([str(python), "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    root = installed.parent.parent.resolve()
    assert all(Path(line).resolve().is_relative_to(root) for line in lines), lines


@pytest.mark.parametrize("shadow", [False, True], ids=["empty folder", "folder with a deploy.py"])
def test_the_wheel_deploys_from_a_folder_with_only_an_inventory(
    database: Database, installed: Path, tmp_path: Path, shadow: bool
) -> None:
    """A deploy.py of the user's own, which is what many call theirs, is in nobody's way under the `pyinfra` command."""
    inventory_file(tmp_path, {"@postgres/x": database.data})
    if shadow:
        (tmp_path / "deploy.py").write_text("raise SystemExit('the deploy.py of the user was imported')\n")
    environment = database.server.environment()
    first = run(installed, tmp_path, "-y", "inventory.py", "deploy.apply", environment=environment)
    assert re.search(r"^    Migrate +1 +1 +- +-", first, re.MULTILINE), first
    assert " matches the contract" in first
    second = run(installed, tmp_path, "-y", "inventory.py", "deploy.apply", environment=environment)
    assert re.search(r"^    Migrate +1 +- +- +1", second, re.MULTILINE), second


def test_render_writes_the_committed_files_and_finds_nothing_to_do_after(installed: Path, tmp_path: Path) -> None:
    first = run(installed, tmp_path, "-y", "@local", "deploy.render", "out=sub/folder")
    assert f"wrote {tmp_path / 'sub' / 'folder' / MIGRATION.name}" in first
    got = {path.name: path.read_bytes() for path in (tmp_path / "sub" / "folder").iterdir()}
    assert got == {path.name: path.read_bytes() for path in (ROOT / "migrations").iterdir()}
    second = run(installed, tmp_path, "-y", "@local", "deploy.render", "out=sub/folder")
    assert re.search(r"^    Render +1 +- +- +1", second, re.MULTILINE), second


def test_render_under_dry_writes_nothing_and_without_out_it_writes_into_migrations(pyinfra: Pyinfra, tmp_path: Path) -> None:
    """Whatever the data: no migration text names a schema."""
    assert pyinfra("@local", "--dry", "deploy.render").code == 0
    assert not (tmp_path / "migrations").exists()
    assert pyinfra("@local", "-y", "deploy.render", "schema=health").code == 0
    assert (tmp_path / "migrations" / MIGRATION.name).read_bytes() == MIGRATION.read_bytes()


def test_render_into_a_place_that_cannot_be_written_says_so(pyinfra: Pyinfra, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = pyinfra("@local", "-y", "deploy.render", "out=file", environment=dict(os.environ))
    assert result.code == 1
    assert any("choose another folder with out=DIR" in line for line in result.lines("@local")), result.out
