"""A contract made from what hosts hold: with which versions, over which files, and when nothing is to be written."""

from __future__ import annotations

import pytest

from deploy.errors import HostFailed
from deploy.plan.making import Look, make
from deploy.source.contracts import Contract, Entry, SchemaObject

TABLE = SchemaObject("table", "t", None, "")
CHECK = "CHECK (((a)::text = ANY ((ARRAY['x'::character varying])::text[])))"
RESTORED = "CHECK (((a)::text = ANY (ARRAY[('x'::character varying)::text])))"


def look(version: int, check: str = CHECK, major: int = 18, *more: SchemaObject) -> Look:
    return Look(version, major, (TABLE, SchemaObject("constraint", "c", "t", check), *more))


def file(version: int, through: int | None = None, *spellings: str) -> Contract:
    entries = (Entry("table", "t", None, ("",)), Entry("constraint", "c", "t", spellings or (CHECK,)))
    return Contract(version, through or version, entries, majors=(18,), ignore=("table tmp_*",))


def spellings(contract: Contract) -> tuple[str, ...]:
    return contract.entries[1].spellings


def test_the_first_contract_is_closed_and_says_what_it_was_made_with() -> None:
    made = make({"a": look(3)}, (), ["audit"])
    assert (made.version, made.through, made.closed, made.schemas, made.majors) == (3, 3, True, ("audit",), (18,))


def test_another_major_adds_its_spelling_and_what_people_wrote_stays() -> None:
    made = make({"a": look(3, RESTORED, 15)}, [file(3)])
    assert (spellings(made), made.majors, made.ignore) == ((CHECK, RESTORED), (15, 18), ("table tmp_*",))


def test_a_spelling_of_something_else_is_forgotten() -> None:
    assert spellings(make({"a": look(3, CHECK.replace("'x'", "'y'"))}, [file(3)])) == (CHECK.replace("'x'", "'y'"),)


def test_a_version_without_a_trace_extends_the_contract_before_it_and_adds_spellings() -> None:
    made = make({"a": look(5, RESTORED)}, [file(2), file(3)])
    assert (made.version, made.through, spellings(made)) == (3, 5, (CHECK, RESTORED))


def test_a_version_that_changes_something_has_a_file_of_its_own() -> None:
    assert make({"a": look(5, CHECK, 18, SchemaObject("index", "i", "t", "btree (a)"))}, [file(3)]).version == 5


@pytest.mark.parametrize(
    ("looks", "existing", "problem"),
    [
        ({"a": look(3), "b": look(2)}, (), "hosts hold different versions: 3 on a, 2 on b; run deploy.apply on all of them"),
        ({"a": look(3), "b": look(3, CHECK.replace("'x'", "'y'"))}, (), "hosts differ, so nothing was written; make them alike"),
        (
            {"a": look(4, CHECK.replace("'x'", "'y'"))},
            [file(3, 5)],
            "3.toml holds through 5, and these hosts differ from it; set its `through` below 4, then run the command again",
        ),
    ],
)
def test_where_hosts_differ_nothing_is_written(looks: dict[str, Look], existing: list[Contract], problem: str) -> None:
    with pytest.raises(HostFailed) as failed:
        make(looks, existing)
    assert str(failed.value.problem) == problem
