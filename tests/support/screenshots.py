"""A page in Chromium. `cd tests && python -m support.screenshots` takes the README's picture of the report anew."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deploy.report import files
from support import fleets
from support.project import ROOT

FILE = ROOT / "docs" / "report.png"
SIZE = (1000, 1060)
SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def open_in(browser: str, page: str, folder: Path, *switches: str) -> bytes:
    """Open a page in a new, empty profile inside `folder`; give what the browser prints."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [browser, *SWITCHES.split(), f"--user-data-dir={folder / 'profile'}", *switches, file.as_uri()]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120).stdout


def page() -> bytes:
    return files.render(fleets.six())["verify.html"]


def digest() -> str:
    """What the picture carries with it, so that a test sees when the page is no longer the one it shows."""
    return hashlib.sha256(page()).hexdigest()


def take(browser: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        light = "--blink-settings=preferredColorScheme=1"
        open_in(browser, page().decode(), Path(folder), f"--screenshot={shot}", "--window-size={},{}".format(*SIZE), light)
        about = PngInfo()
        about.add_text("page", digest())
        FILE.parent.mkdir(exist_ok=True)
        Image.open(shot).convert("RGB").quantize(64).save(FILE, pnginfo=about, optimize=True)


if __name__ == "__main__":
    found = chromium()
    if found is None:
        sys.exit("no Chromium on this machine; on Debian: apt-get install chromium")
    take(found)
