"""A folder for programs that are run: nobody but its owner may have put them there. The tests run as root too."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import platformdirs

_NAME = "integration-health-deploy"


class NotPrivate(Exception):
    """Somebody else may write into a folder, and how to go on."""


def cache() -> Path:
    """The user's. Root's is the machine's: its servers run as another user, who may not look into /root."""
    return platformdirs.site_cache_path(_NAME) if os.geteuid() == 0 else platformdirs.user_cache_path(_NAME)


def make(folder: Path) -> Path:
    """The folder, with what is missing above it: for its owner alone, root's to be passed through. Raises NotPrivate."""
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for part in reversed((folder, *folder.parents)):
        if not part.exists():
            part.mkdir(mode, exist_ok=True)
            part.chmod(mode)  # the umask may have taken away more
    return checked(folder)


def checked(folder: Path) -> Path:
    """The folder itself, without links on the way. Raises NotPrivate when another user may write into it or replace it."""
    found = folder.resolve()
    for part in (found, *found.parents):
        status = part.stat()
        if status.st_uid not in (0, os.geteuid()):
            raise NotPrivate(f"{part} belongs to user {status.st_uid}, who may replace what is run from it; remove it")
        kept = status.st_mode & stat.S_ISVTX and part != found  # as /tmp: only its owner renames what is in there
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not kept:
            raise NotPrivate(f"{part} can be written by other users, who may replace what is run from it; run chmod go-w {part}")
    return found
