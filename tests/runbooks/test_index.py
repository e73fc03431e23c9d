"""The index leads from every error's first words to a page: its rows are compared with the sources of those who say them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import no_errors
import pytest
import texts
from conftest import IN_CI, ROOT, programs

from deploy import connecting

FOLDER = ROOT / "runbooks"
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
OURS, POSTGRES, SSH, PYINFRA, SQLX = (texts.rows(table) for table in INDEX.split("\n### ")[1:])
TEXTS = texts.of_package()
STEPS = [text for step in connecting._NEXT_STEPS for text in step]


def flat(text: str) -> str:
    return " ".join(text.split())


def test_every_error_text_of_the_package_is_listed() -> None:
    rows = [*OURS, *POSTGRES]
    unlisted = [
        text
        for text in TEXTS
        if not any(row.lists(text) for row in rows)
        and flat(text.text) not in no_errors.ALL
        and not (text.place.startswith(("deploy/bastion.py", "deploy/connecting.py")) and any(text.words in step for step in STEPS))
    ]
    shown = [
        f"| `` {' '.join(text.text.split()[:12])} `` | [A host failed](a-host-failed.md) |  <- {text.place}" for text in unlisted
    ]
    assert not shown, (
        "put these rows, with the right page and without the place, into the first table of runbooks/README.md, in the "
        "order of the alphabet (or into tests/runbooks/no_errors.py, when nobody has to act on one):\n" + "\n".join(shown)
    )


def test_what_the_server_says_to_a_connection_is_listed() -> None:
    """Each pattern that deploy/connecting.py has a next step for is found in a row."""
    rows = [*OURS, *POSTGRES, *SSH]
    unlisted = [step[0] for step in connecting._NEXT_STEPS if not any(re.search(step[0], row.symptom) for row in rows)]
    assert not unlisted, f"put a row for each of these into the second or third table of runbooks/README.md: {unlisted}"


def test_ssh_says_what_the_index_says_of_it() -> None:
    program = shutil.which("ssh")
    if program is None:
        reason = "no OpenSSH client on this machine; on Debian: apt-get install openssh-client"
        pytest.fail(reason) if IN_CI else pytest.skip(reason)
    said = re.sub(rb"%[.\d]*[a-z]", b"%s", Path(program).read_bytes())
    pieces = {row.symptom: max(re.split('…|"|: ', row.symptom), key=len).strip(" ()") for row in SSH}
    assert {symptom: piece for symptom, piece in pieces.items() if piece.encode() not in said} == {}


def test_every_row_is_said_by_the_package() -> None:
    assert [row.symptom for row in OURS if not any(row.lists(text) for text in TEXTS)] == []


def test_what_needs_no_row_is_still_there() -> None:
    assert sorted(set(no_errors.ALL) - {flat(text.text) for text in TEXTS}) == []


def test_pyinfra_says_what_the_index_says_of_it() -> None:
    said = [
        text
        for name in ("pyinfra", "pyinfra_cli")
        for path in source(name).rglob("*.py")
        for text in texts.of_module(path.read_text(encoding="utf-8"), path)
    ]
    assert [row.symptom for row in PYINFRA if not any(row.lists(text) for text in said)] == []


def source(module: str) -> Path:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


FORMATS = {
    **{f"invalid {option} value": 'invalid %s value: "%s"' for option in ("sslmode", "require_auth", "channel_binding")},
    "permission denied for table _sqlx_migrations": "permission denied for table %s",
    "syntax error at or near": "%s at or near",
}
"""What stands in the source, for rows that are more than a piece of it."""


def test_postgres_says_what_the_index_says_of_it() -> None:
    """The longest piece of each row without `…` is in the server, libpq, OpenSSL, psycopg or the kernel."""
    bin = programs("embedded")
    libraries = [*bin.parent.glob("lib/libpq.so.5"), *source("psycopg_binary").parent.glob("psycopg_binary.libs/*")]
    said = b"".join(path.read_bytes() for path in [bin / "postgres", *libraries, *source("psycopg").glob("*.py")])
    said += "".join(map(os.strerror, errno.errorcode)).encode()
    rows = [row for row in POSTGRES if row.symptom != "no more connections allowed"]  # PgBouncer's
    pieces = {row.symptom: max(re.split('…|"|: ', row.symptom), key=len).strip() for row in rows} | FORMATS
    assert {symptom: piece for symptom, piece in pieces.items() if piece.encode() not in said} == {}


def test_sqlx_says_what_the_index_says_of_it() -> None:
    program = (Path(sys.executable).parent / "sqlx").read_bytes()
    assert [row.symptom for row in SQLX if row.symptom.split("…")[1].split("`")[0].strip().encode() not in program] == []


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, link


def test_every_page_is_in_the_index() -> None:
    assert {path.name for path in FOLDER.glob("*.md")} - set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX)) == {"README.md"}


def test_an_error_that_is_not_listed_is_found(tmp_path: Path) -> None:
    """The search sees f-strings, both branches of a choice inside one, and what stands behind a value; no docstring."""
    code = 'def f(x):\n    """Some words to read."""\n    return f"{x}: no such {x} here{\' and some more\' if x else 1}" + "a b"\n'
    found = list(texts.of_module(code, Path("m.py")))
    assert sorted(text.words for text in found) == ["and some more", "no such … here…"]
    assert [text.place for text in found] == ["m.py:3", "m.py:3"]
    text = next(text for text in found if text.words.startswith("no"))
    assert texts.Row("no such … here", "").lists(text)
    assert texts.Row("…: no such", "").lists(text)
    assert not texts.Row("no such folder", "").lists(text)
    assert not texts.Row("such … here", "").lists(text)
