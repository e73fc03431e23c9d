"""The runbooks do what they say: the commands of each page are run on real servers, in the page's order, and its way back too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import transcript
from conftest import MIGRATION, ROOT
from stage import Given, Servers, Stage

FOLDER = ROOT / "runbooks"

EVENTS = """INSERT INTO integration_events (integration_id, event_type, severity, occurred_at)
SELECT 'airbnb', 'booking_loss', 'low', now() - make_interval(days => day, mins => 1) FROM generate_series(1, 300) AS day;"""
"""One a day: 211 are older than 90 days."""

BY_HAND = MIGRATION.read_text(encoding="utf-8")

ALMOST = (
    BY_HAND
    + """ALTER TABLE integration_events ALTER severity DROP NOT NULL;
DROP INDEX idx_integration_events_type;
INSERT INTO integration_events (integration_id, event_type, occurred_at) VALUES ('airbnb', 'booking_loss', now());"""
)

PAGES = {
    "first-deploy": Given(empty=("eu-1", "us-1")),
    "add-a-host": Given(deployed=("eu-1",), empty=("us-1",)),
    "dry-run-and-approval": Given(empty=("eu-1",)),
    "canary-and-rollout": Given(empty=("eu-1", "us-1")),
    "a-host-failed": Given(empty=("eu-1", "us-1")),
    "drift-found": Given(deployed=("eu-1", "us-1")),
    "revert": Given(deployed=("eu-1", "us-1"), sql={"eu-1": EVENTS}),
    "adopt-a-hand-made-schema": Given(empty=("eu-1", "us-1"), sql={"eu-1": BY_HAND, "us-1": ALMOST}),
    "retention": Given(deployed=("eu-1",), sql={"eu-1": EVENTS}),
    "rotate-credentials": Given(deployed=("eu-1", "us-1")),
    "restore-from-backup": Given(deployed=("eu-1",), sql={"eu-1": EVENTS}),
    "upgrade-postgresql": Given(deployed=("eu-1",), sql={"eu-1": EVENTS}, labels={"eu-1": "pypi16"}),
}
"""What there is when a page is opened."""

SECTIONS = ["When", "How", "How you know that it worked", "How to go back"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    started: Servers = {}
    yield started
    with ExitStack() as ends:
        for server in started.values():
            ends.callback(server.remove)
            ends.callback(server.stop)


def read(page: str) -> str:
    return (FOLDER / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_happens(page: str, servers: Servers, tmp_path: Path) -> None:
    text = read(page)
    stage = Stage(PAGES[page], text, tmp_path, servers)
    for block in transcript.blocks(text):
        if block.language == "console":
            for command, shown in block.commands:
                transcript.run(stage.here(command), shown, stage.folder, stage.environment)
        else:
            stage.write(block)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_when_how_how_you_know_and_how_to_go_back_and_shows_all_but_the_first(page: str) -> None:
    headings = [line.removeprefix("## ") for line in read(page).splitlines() if line.startswith("## ")]
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS
    shown = {block.section for block in transcript.blocks(read(page)) if block.language == "console"}
    assert shown >= set(SECTIONS[1:])


def test_each_page_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == PAGES.keys()
