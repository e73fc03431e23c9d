"""What our own sessions call by name: functions, aggregates and operators, with the types of their arguments.

The server logs how it parsed every statement (debug_print_parse), also those inside DO blocks and EXECUTE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.servers import Database, quoted
from support.sessions import log_entries, pinned_session

_UNKNOWN, _TEXT, _BOOLEAN = 705, 25, 16


@dataclass(frozen=True)
class Call:
    """A function, aggregate or operator that our SQL calls by name; of each argument the types that a call may be resolved by."""

    kind: str
    name: str
    arguments: tuple[tuple[int, ...], ...]
    result: int
    is_set: bool = False
    columns: str = ""
    """The OUT parameters of a function that gives records, as its declaration has them."""


def traced(database: Database) -> None:
    """Have the server log how it parses each statement."""
    database.psql(f"""ALTER DATABASE {quoted(database.name)} SET debug_print_parse = on;
        ALTER DATABASE {quoted(database.name)} SET debug_pretty_print = off""")


@dataclass(frozen=True)
class Seen:
    """What our statements call, and the relations of pg_catalog that they read."""

    calls: frozenset[Call]
    relations: frozenset[str]


def seen(databases: Iterable[Database]) -> Seen:
    """What our own sessions called in these databases of one server, from the log's parse trees."""
    found: set[tuple[str, int, tuple[tuple[int, ...], ...], int, bool]] = set()
    relations: set[int] = set()
    every = list(databases)
    trees = {tree for one in every for tree in log_entries(one, "DETAIL:  ") if "{QUERY" in tree}
    with pinned_session(every[0]) as session:
        arrays = dict(session.execute("SELECT oid::int, typarray::int FROM pg_type").fetchall())
        for tree in trees:
            _Tree(arrays, found, relations).walk(_parse(tree))
        functions = {row[0]: row[1:] for row in session.execute(_FUNCTIONS).fetchall()}
        operators = dict(session.execute("SELECT oid::int, oprname::text FROM pg_operator").fetchall())
        tables = dict(session.execute("SELECT oid::int, relname::text FROM pg_class WHERE relnamespace = 11").fetchall())
    calls = set()
    for kind, oid, arguments, result, is_set in found:
        if kind == "operator":
            calls.add(Call(kind, operators[oid], arguments, result))
        elif oid in functions:
            name, prokind, columns = functions[oid]
            calls.add(Call("aggregate" if prokind == "a" else "function", name, arguments, result, is_set, columns or ""))
    return Seen(frozenset(calls), frozenset(tables[oid] for oid in relations if oid in tables))


_FUNCTIONS = """
    SELECT p.oid::int, p.proname::text, p.prokind::text, CASE WHEN p.prorettype = 'record'::regtype THEN (
        SELECT string_agg(format('OUT %I %s', name, type::oid::regtype), ', ' ORDER BY n)
        FROM unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY AS a (name, type, mode, n)
        WHERE mode IN ('o', 't')) END
    FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
    WHERE p.pronamespace = 11 AND p.prokind <> 'w' AND coalesce(a.aggkind, 'n') = 'n'
"""


class _Tree:
    """Collects the calls of one parse tree (nodeToString: nodes/outfuncs.c of PostgreSQL 13 to 18)."""

    def __init__(self, arrays: Mapping[int, int], found: set[Any], relations: set[int]) -> None:
        self.arrays, self.found, self.relations = arrays, found, relations

    def walk(self, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self.walk(item)
        elif isinstance(value, dict):
            self._look(value)
            self.walk([item for key, items in value.items() if key != "" for item in items])

    def _look(self, node: dict[str, Any]) -> None:
        kind, arguments = node[""], _items(node, "args")
        if kind == "FUNCEXPR" and node["funcformat"] == ["0"]:
            is_set = node["funcretset"] == ["true"]
            self._add("function", node["funcid"], arguments, _number(node, "funcresulttype"), is_set)
        elif kind in ("OPEXPR", "DISTINCTEXPR", "NULLIFEXPR"):
            result = _number(node, "opresulttype") if kind == "OPEXPR" else _BOOLEAN
            self._add("operator", node["opno"], arguments, result)
        elif kind == "SCALARARRAYOPEXPR":
            elements = {array: element for element, array in self.arrays.items() if array}
            one = tuple(dict.fromkeys(elements[array] for array in self._types(arguments[1]) if array in elements))
            self._add("operator", node["opno"], [arguments[0]], _BOOLEAN, right=one)
        elif kind == "AGGREF":
            arguments = [item["expr"][0] for item in arguments]
            self._add("function", node["aggfnoid"], arguments, _number(node, "aggtype"))
        elif kind in ("RTE", "RANGETBLENTRY") and "relid" in node:
            self.relations.add(_number(node, "relid"))

    def _add(
        self, kind: str, oid: Any, arguments: Any, result: int, is_set: bool = False, right: tuple[int, ...] | None = None
    ) -> None:
        types = tuple(self._types(argument) for argument in arguments) + ((right,) if right is not None else ())
        self.found.add((kind, int(oid[0]), types, result, is_set))

    def _types(self, node: Any) -> tuple[int, ...]:
        """The type that an argument was written with, and the one that it was cast to where nobody wrote the cast."""
        kinds = [self._type(node)]
        while isinstance(node, dict) and _is_implicit(node):
            node = (_items(node, "arg") or _items(node, "args"))[0]
            kinds.append(self._type(node))
        return tuple(dict.fromkeys(_TEXT if kind == _UNKNOWN else kind for kind in reversed(kinds)))

    def _type(self, node: dict[str, Any]) -> int:
        if node[""] == "SUBLINK":
            column = next((item for item in _items(node["subselect"][0], "targetList")), None)
            inner = self._type(column["expr"][0]) if column else _BOOLEAN
            return {"4": inner, "6": self.arrays.get(inner, inner)}.get(node["subLinkType"][0], _BOOLEAN)
        return next((_number(node, key) for key in _TYPE_KEYS if key in node), _BOOLEAN)


_TYPE_KEYS = re.findall(
    r"\w+",
    "vartype consttype paramtype funcresulttype opresulttype aggtype wintype resulttype casetype coalescetype array_typeid "
    "row_typeid minmaxtype refrestype refelemtype typeId type",
)


def _is_implicit(node: dict[str, Any]) -> bool:
    return any(node.get(key) == ["2"] for key in ("relabelformat", "funcformat", "coerceformat", "coercionformat"))


def _items(node: dict[str, Any], key: str) -> list[Any]:
    """The members of a list, or the single node, of a field."""
    value = node.get(key, [])
    return value[0] if len(value) == 1 and isinstance(value[0], list) else [item for item in value if isinstance(item, dict)]


def _number(node: dict[str, Any], key: str) -> int:
    return int(node[key][0])


_TOKEN = re.compile(r"[(){}]|\[[^\]]*\]|(?:\\.|[^\s(){}\\])+")


def _parse(text: str) -> Any:
    """Nodes as dicts of lists of values, the node's tag under the empty key; lists as lists."""
    tokens = iter(_TOKEN.findall(text))

    def node() -> dict[str, Any]:
        made: dict[str, Any] = {"": next(tokens)}
        key = ""
        for token in tokens:
            if token == "}":
                break
            if token.startswith(":"):
                key = token[1:]
                made[key] = []
            else:
                made[key].append(value(token))
        return made

    def value(token: str) -> Any:
        if token == "{":
            return node()
        if token == "(":
            return list(items())
        return token

    def items() -> Iterator[Any]:
        for token in tokens:
            if token == ")":
                return
            yield value(token)

    return [value(token) for token in tokens]
