"""From each kind of problem a link leads to what to do, and every link of a page leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.project import ROOT

from deploy.problems import KINDS

FOLDER = ROOT / "runbooks"
PAGES = sorted(FOLDER.glob("*.md"))


def headings(page: Path) -> dict[str, str]:
    """The headings of a page by their anchors."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"): heading for heading in found}


def leads_somewhere(link: str, page: Path) -> bool:
    """Whether file and heading are there; `page` has the link."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in headings(target))


def row(kind: str) -> str:
    """The section is named by its heading, one that every page has by that of the page."""
    link = KINDS[kind].runbook
    name, _, anchor = link.partition("#")
    of_page = headings(FOLDER / name)
    title = next(iter(of_page.values())) if anchor == "how" else of_page[anchor]
    return f"| `{kind}` | {KINDS[kind].meaning} | [{title}]({link}) |"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_problem_has_its_section(kind: str) -> None:
    assert "#" in KINDS[kind].runbook
    assert leads_somewhere(KINDS[kind].runbook, FOLDER / "README.md")


def test_the_readme_of_the_runbooks_lists_every_kind_with_its_section() -> None:
    """Put these rows there when a kind is new or changed."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `.*$", text, re.MULTILINE) == [row(kind) for kind in sorted(KINDS)]


def test_the_readme_of_the_runbooks_lists_every_page() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in PAGES} - set(re.findall(r"\]\(([\w-]+\.md)\)", text)) == {"README.md"}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda path: path.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not leads_somewhere(link, page)] == []
