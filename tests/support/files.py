"""Folders of files: a source of migrations, checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, files: Mapping[str, str | bytes | Path]) -> Path:
    """A folder with these files, byte for byte; a path is a symbolic link to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, Path):
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def password_file(path: Path, password: str, *logins: str) -> Path:
    """A .pgpass with one password; a login is HOST:PORT:DATABASE:USER."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    path.touch(mode=0o600)
    path.write_text("".join(f"{login}:{escaped}\n" for login in logins), encoding="utf-8")
    return path
