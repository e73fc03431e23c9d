"""What differs from a contract: one line for one fact."""

from __future__ import annotations

import pytest

from deploy.plan.catalogs import Catalog
from deploy.plan.contract import compare
from deploy.plan.merging import is_same, merge
from deploy.source.contracts import Contract, Entry, SchemaObject

Rows = list[tuple[str, str, str | None, str]]

SHOP: Rows = [
    ("table", "orders", None, ""),
    ("column", "id", "orders", "bigint NOT NULL"),
    ("column", "note", "orders", "text"),
    ("constraint", "orders_pkey", "orders", "PRIMARY KEY (id)"),
    ("constraint", "orders_note_key", "orders", "UNIQUE (note)"),
    ("index", "by_note", "orders", "btree (note)"),
    ("comment", "column note", "orders", "free text"),
    ("function", "touch()", None, "()\n RETURNS trigger\nAS $$\nBEGIN\n  RETURN NEW;\nEND\n$$"),
    ("type", "state", None, "ENUM ('open')"),
    ("extension", "pgcrypto", None, ""),
]


def contract(rows: Rows = SHOP, *, closed: bool = True, ignore: tuple[str, ...] = (), majors: tuple[int, ...] = (18,)) -> Contract:
    entries = tuple(Entry(kind, name, part_of, (definition,)) for kind, name, part_of, definition in rows)
    return Contract(1, 1, entries, closed=closed, ignore=ignore, majors=majors)


def found(rows: Rows) -> Catalog:
    return Catalog(tuple(SchemaObject(*row) for row in rows), fingerprint="")


def lines(rows: Rows, of: Contract | None = None, major: int = 18) -> list[str]:
    return [str(violation) for violation in compare(of or contract(), found(rows), major).violations]


def without(*names: str) -> Rows:
    return [row for row in SHOP if row[1] not in names and row[2] not in names]


def test_nothing_differs() -> None:
    assert lines(list(reversed(SHOP))) == []


def test_a_lost_table_is_one_line_and_not_its_columns() -> None:
    assert lines(without("orders")) == ["orders: expected table, found missing"]


def test_an_extra_table_is_one_line() -> None:
    more: Rows = [("table", "more", None, ""), ("column", "a", "more", "integer"), ("comment", "table", "more", "x")]
    assert lines([*SHOP, *more]) == ["more: expected no such table, found table"]


def test_a_table_of_another_name_is_said_as_such() -> None:
    rows = [
        (kind, name.replace("orders", "bills") if part is None else name, part and "bills", text) for kind, name, part, text in SHOP
    ]
    assert lines(rows) == ["orders: expected the name orders, found the name bills"]


def test_what_a_view_has_in_place_of_a_table_is_not_listed_column_by_column() -> None:
    assert lines([*without("orders"), ("view", "orders", None, "(id bigint) AS\n SELECT 1;")]) == [
        "orders: expected table, found view (id bigint) AS SELECT 1;"
    ]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (("column", "note"), "remark", "orders.note: expected the name note, found the name remark"),
        (("index", "by_note"), "notes", "by_note: expected the name by_note, found the name notes"),
        (
            ("constraint", "orders_note_key"),
            "one_note",
            "orders_note_key: expected the name orders_note_key, found the name one_note",
        ),
        (("type", "state"), "states", "type state: expected the name state, found the name states"),
        (("function", "touch()"), "touched()", "function touch(): expected the name touch(), found the name touched()"),
    ],
)
def test_a_changed_name_is_said_as_such(old: tuple[str, str], new: str, line: str) -> None:
    rows = [(kind, new if (kind, name) == old else name, part, text.replace("(note)", f"({new})") if old[0] == "column" else text)
            for kind, name, part, text in SHOP if kind != "comment"]  # fmt: skip
    assert lines(rows, contract(without("column note"))) == [line]


@pytest.mark.parametrize(("old", "new"), [("orders_pkey", "pk"), ("orders_note_key", "orders_note_key1")])
def test_names_left_to_the_server_and_of_primary_keys_do_not_matter(old: str, new: str) -> None:
    assert lines([(kind, new if name == old else name, part, text) for kind, name, part, text in SHOP]) == []


def test_an_index_with_the_name_of_a_lost_constraint_is_one_line() -> None:
    rows = [*without("orders_note_key"), ("index", "orders_note_key", "orders", "UNIQUE btree (note)")]
    assert lines(rows) == ["orders_note_key: expected UNIQUE (note), found UNIQUE INDEX ON orders USING btree (note)"]


def test_a_view_without_a_text_in_place_of_a_table_is_a_difference() -> None:
    """A contract of ordinary tables asks for no more than what something is instead."""
    assert lines([*without("orders"), ("view", "orders", None, "")]) == ["orders: expected table, found view"]


def test_of_a_long_body_only_the_lines_that_differ_are_shown() -> None:
    rows = [(kind, name, part, text.replace("NEW", "OLD")) for kind, name, part, text in SHOP]
    assert lines(rows) == ["function touch(): expected line 5: RETURN NEW;, found RETURN OLD;"]


def test_a_lost_column_takes_its_comment_along() -> None:
    assert lines([row for row in SHOP if row[1] not in ("note", "column note")]) == ["orders.note: expected text, found missing"]


def test_extra_extensions_publications_and_partitions_are_notes() -> None:
    more: Rows = [
        ("extension", "pg_stat_statements", None, ""),
        ("publication", "changes", None, "FOR ALL TABLES"),
        ("table", "orders_2027", None, "PARTITION OF orders FOR VALUES IN (1)"),
        ("column", "id", "orders_2027", "bigint NOT NULL"),
        ("storage", "table", "orders", "WITH (fillfactor=70)"),
    ]
    got = compare(contract(), found([*SHOP, *more]), 18)
    assert got.violations == ()
    assert [note.partition(":")[0] for note in got.notes] == [
        "orders_2027", "publication changes", "orders", "extension pg_stat_statements"
    ]  # fmt: skip


def test_an_open_contract_minds_only_what_its_own_tables_do() -> None:
    of = contract(SHOP[:6], closed=False)
    welcome: Rows = [
        ("index", "more", "orders", "btree (id DESC)"),
        ("statistics", "s", "orders", "ON id, note"),
        ("function", "f()", None, ""),
    ]
    assert lines([*SHOP[:6], *welcome], of) == []
    minded: Rows = [
        ("index", "one", "orders", "UNIQUE btree (note)"),
        ("trigger", "t", "orders", "BEFORE INSERT"),
        ("column", "x", "orders", "int"),
    ]
    assert lines([*SHOP[:6], *minded], of) == [
        "orders.x: expected no such column, found int",
        "one: expected no other unique index on orders, found UNIQUE INDEX ON orders USING btree (note)",
        "orders: expected no trigger, found trigger t BEFORE INSERT",
    ]


def test_what_a_pattern_names_is_ignored_with_its_parts() -> None:
    of = contract(ignore=("table tmp_*", "extension *", "index orders.by_*"))
    more: Rows = [("table", "tmp_1", None, ""), ("column", "a", "tmp_1", "integer")]
    assert lines([*without("by_note", "pgcrypto"), *more], of) == []


CHECK = "CHECK (((state)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))"
RESTORED = "CHECK (((state)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (CHECK, RESTORED, True),
        (CHECK, RESTORED.replace("'b'", "'c'"), False),
        (" SELECT orders.id,\n    count(*)\n   FROM orders", " SELECT id,\n    count(*)\n   FROM orders", True),
        ("DEFAULT (now() AT TIME ZONE 'UTC'::text)", "DEFAULT timezone('UTC'::text, now())", True),
        ("EXTRACT(year FROM at)", "date_part('year'::text, at)", False),  # numeric here, double precision there
        ("numeric(5,4)", "numeric(6,4)", False),
        ("character varying(50)", "text", False),
        ("CHECK ((a > b))", "CHECK ((b > a))", False),
        ("DEFAULT (now())::date", "DEFAULT (now())::timestamp without time zone", False),
    ],
)
def test_spellings_of_one_definition_are_told_from_two_definitions(one: str, other: str, same: bool) -> None:
    assert is_same(one, other) is same


def test_a_major_that_a_contract_was_not_made_with_may_spell_in_its_own_way() -> None:
    of = contract([SHOP[0], ("constraint", "c", "orders", CHECK)])
    rows: Rows = [SHOP[0], ("constraint", "c", "orders", RESTORED)]
    assert len(lines(rows, of, 18)) == 1
    got = compare(of, found(rows), 19)
    assert (got.violations, len(got.notes)) == ((), 1)


def test_several_hosts_give_one_contract_with_every_spelling_or_what_truly_differs() -> None:
    one, restored = ([SchemaObject(*SHOP[0]), SchemaObject("constraint", "c", "orders", text)] for text in (CHECK, RESTORED))
    merged = merge({"a": one, "b": restored})
    assert (merged.differing, merged.entries[1].spellings) == ((), (CHECK, RESTORED))
    other = [SchemaObject("constraint", "c", "orders", CHECK.replace("'b'", "'x'"))]
    differing = merge({"a": one, "b": other}).differing
    assert [line.partition(":")[0] for line in differing] == ["orders", "c"]
    assert "on a, missing on b" in differing[0]
