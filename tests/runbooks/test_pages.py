"""The runbooks do what they say: the commands of each page are run on real servers, in the page's order, and its way back too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import transcript
from support.stage import FOLDER, PAGES, Servers, Stage, read

SECTIONS = ["When", "How", "How you know that it worked", "How to go back"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.everything
@pytest.mark.server
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


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, link


def test_every_page_is_listed() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert {path.name for path in FOLDER.glob("*.md")} - set(listed) == {"README.md"}
