"""Contract files: what can't be read is refused with its place, and what is written reads the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deploy.errors import RunRefused
from deploy.source import contract_text, contracts
from deploy.source.contracts import Contract, Entry

TEXTS = (
    "a",
    'say "yes"',
    "it's",
    "C:\\temp",
    "two\nlines\n",
    "'''",
    "'''\n\"\"\"\n\\",
    "tab\tand\x07bell",
    "ends '\n'",
    "",
    "é🙂",
    "\r\n",
    "#",
)


def file(folder: Path, text: str, name: str = "7.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[contract", "can't be read: Expected ']' at the end of a table declaration (at end of document)"),
        ("[contract]\nclosed = 1", "contract.closed: expected true or false, found 1"),
        (
            "[contract]\n\nschema = 'a'",
            "contract.schema: unknown key; expected one of closed, ignore, postgresql, schemas, through",
        ),
        ("[contract]\nthrough = 6", "contract.through: expected 7 or a later version, found 6"),
        ("[contract]\npostgresql = ['18']", "contract.postgresql: expected a list of integers, found ['18']"),
        ("[tabel.orders]\n", "tabel: unknown kind of object; expected one of aggregate, "),
        ("[table.orders.columns]", "table.orders.columns: unknown key; expected definition, column, "),
        (
            "[table.orders.column]\nid = 'int'\ntotal = 5",
            "table.orders.column.total: expected a string or a list of strings, found 5",
        ),
        ("[table.orders.column]\nid = []", "table.orders.column.id: expected a string or a list of strings, found []"),
        ("[function.'f()']\nbody = 'x'", "function.f().body: unknown key; expected definition"),
        ("table = 1", "table: expected a table, found 1"),
    ],
)
def test_what_can_not_be_read_is_refused_with_file_line_key_and_value(tmp_path: Path, text: str, problem: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(RunRefused) as refused:
        contracts.read(path)
    got = str(refused.value)
    assert got.startswith(f"{path}:") and problem in got
    if "can't be read" not in got:
        assert got.startswith(f"{path}:{len(text.rstrip().splitlines())}: ")


def test_a_name_that_is_no_version_and_versions_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunRefused, match=r"'seven' is not a version; name the file VERSION\.toml"):
        contracts.read(file(tmp_path, "", "seven.toml"))
    (tmp_path / "seven.toml").unlink()
    file(tmp_path, "[contract]\nthrough = 9")
    file(tmp_path, "", "9.toml")
    with pytest.raises(RunRefused, match=r"7\.toml: through: 9 is covered by 9\.toml too; set a version below 9"):
        contracts.load(tmp_path)


def test_a_contract_holds_through_the_version_that_it_names(tmp_path: Path) -> None:
    file(tmp_path, "[contract]\nthrough = 8")
    file(tmp_path, "", "10.toml")
    loaded = contracts.load(tmp_path)
    got = {version: found.version if (found := contracts.of_version(loaded, version)) else None for version in (6, 7, 8, 9, 10, 11)}
    assert got == {6: None, 7: 7, 8: 7, 9: None, 10: 10, 11: None}


def test_every_text_reads_as_it_was_written(tmp_path: Path) -> None:
    chance = random.Random(7)
    entries = [Entry("function", f"f{number}()", None, (text,)) for number, text in enumerate(TEXTS)]
    entries += [Entry("table", '"We.ird ""t"""', None, ("",)), Entry("column", '"a b"', '"We.ird ""t"""', ("int", "integer"))]
    entries += [
        Entry("view", f"v{number}", None, ("".join(chance.choice("'\"\\\n ab{}") for _ in range(20)),)) for number in range(200)
    ]
    contract = Contract(7, 8, tuple(entries), closed=False, schemas=("b", "a"), majors=(15, 18), ignore=("table x_*",))
    got = contracts.read(file(tmp_path, contract_text.write(contract)))
    assert sorted(got.entries, key=str) == sorted(entries, key=str)
    assert (got.version, got.through, got.closed, got.schemas, got.majors, got.ignore) == (
        (7, 8, False, ("b", "a"), (15, 18), ("table x_*",))
    )


def test_the_same_objects_give_the_same_text_and_one_changed_object_a_small_diff() -> None:
    entries = [Entry("table", "t", None, ("",)), Entry("index", "b", "t", ("btree (x)",)), Entry("index", "a", "t", ("btree (y)",))]
    entries += [Entry("function", "f()", None, ("()\n RETURNS int\nAS $$ SELECT 1 $$",))]
    text = contract_text.write(Contract(7, 7, tuple(entries)))
    assert contract_text.write(Contract(7, 7, tuple(reversed(entries)))) == text
    entries[1] = Entry("index", "b", "t", ("btree (x DESC)",))
    changed = contract_text.write(Contract(7, 7, tuple(entries)))
    assert [line for line in changed.splitlines() if line not in text.splitlines()] == ['b = "btree (x DESC)"']
    assert "AS $$ SELECT 1 $$'''" in text or 'AS $$ SELECT 1 $$"""' in text
