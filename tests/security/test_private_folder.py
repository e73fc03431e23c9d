"""The programs that the tests download are kept and run where nobody else can put others in their place."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path

import pytest
from support import private, versions

ROOT = os.geteuid() == 0


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = private.make(tmp_path / "cache" / "tests")
    finally:
        os.umask(before)
    assert made == private.make(made)
    for folder in (made, made.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == (0o711 if ROOT else 0o700)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
@pytest.mark.parametrize("above", [False, True], ids=["itself", "above"])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int, above: bool) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    inside = folder / "bin"
    inside.mkdir(0o700)
    if above and mode == 0o1777:
        assert private.checked(inside) == inside
        return
    with pytest.raises(private.NotPrivate) as refused:
        private.checked(inside if above else folder)
    assert str(refused.value) == (
        f"{folder} can be written by other users, who may replace what is run from it; run chmod go-w {folder}"
    )


@pytest.mark.skipif(not ROOT, reason="only root can make a folder of another user")
@pytest.mark.parametrize("link", [False, True], ids=["as it is", "through a link"])
def test_a_folder_that_somebody_else_has_made_is_refused(tmp_path: Path, link: bool) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(0o755)
    os.chown(folder, 4711, 4711)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(private.NotPrivate) as refused:
        private.make(tmp_path / "link" if link else folder)
    assert str(refused.value) == f"{folder} belongs to user 4711, who may replace what is run from it; remove it"


def test_a_version_in_such_a_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "cache", lambda: tmp_path)
    private.make(tmp_path / f"postgres-{versions.NPM['npm13']}" / "package" / "native" / "bin")
    tmp_path.chmod(0o777)
    assert f"MISSING ({tmp_path} can be written by other users" in versions.header(["npm13"], fetch=False)


def test_a_file_that_is_not_what_npm_has_published_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "server.tgz"
    archive.write_bytes(b"server")
    published = "sha512-" + base64.b64encode(hashlib.sha512(b"server").digest()).decode()
    versions.check_integrity(archive, published)
    archive.write_bytes(b"another")
    for other in (published, "", "sha1-x"):
        with pytest.raises(ValueError, match="is not what npm has published"):
            versions.check_integrity(archive, other)
