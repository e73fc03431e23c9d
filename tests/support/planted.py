"""What a hostile role plants in a database, and who was made to call it.

Whatever is planted says so in the server's log, where neither a rollback nor a READ ONLY transaction takes it back.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from support.servers import PASSWORD, SUPERUSER, Database, quoted

MALLORY = "mallory"
"""A role that may do no more than log in, and create in schema public as everybody may before PostgreSQL 15."""

_APPLICATION = "integration-health-deploy"
_UNKNOWN, _TEXT, _BOOLEAN = 705, 25, 16
_COMBINATIONS = 64
"""So many overloads are planted for one call at most."""


def admit(database: Database) -> None:
    """Let the hostile role in, as PostgreSQL 14 does with its default schema public."""
    database.psql(f"""DO $$ BEGIN CREATE ROLE {MALLORY} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC;""")


def called(database: Database) -> list[str]:
    """What was planted and called by our own sessions in this database: its name and by whom, in order."""
    return _entries(database, "LOG:  planted ")


def _entries(database: Database, kind: str) -> list[str]:
    prefix = f"{_APPLICATION}|{database.name}|{kind}"
    log = database.server.log.read_text(encoding="utf-8", errors="replace").replace("\n\t", " ")
    return [line.removeprefix(prefix) for line in log.split("\n") if line.startswith(prefix)]


def says(what: str) -> str:
    """The statement of a plpgsql body that tells the log who called it."""
    text = what.replace("'", "''").replace("%", "%%")
    return f"RAISE LOG 'planted {text} called by %/%', current_user, session_user;"


def connect(database: Database, *, as_mallory: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
    """A session whose search_path leads to nothing planted."""
    connection = psycopg.connect(
        host="127.0.0.1",
        port=database.server.port,
        user=SUPERUSER,
        password=PASSWORD,
        dbname=database.name,
        autocommit=True,
        options="-c search_path=pg_catalog",
    )
    if as_mallory:
        connection.execute(f"SET SESSION AUTHORIZATION {MALLORY}".encode())
    return connection


# Calls, as the server parsed them


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
    trees = {tree for one in every for tree in _entries(one, "DETAIL:  ") if "{QUERY" in tree}
    with connect(every[0]) as session:
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


_TYPE_KEYS = (
    "vartype consttype paramtype funcresulttype opresulttype aggtype wintype resulttype casetype coalescetype array_typeid "
    "row_typeid minmaxtype refrestype refelemtype typeId type"
).split()


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


# What is planted


def overload(database: Database, what: Seen) -> int:
    """Plant an overload for each call and argument type, and views and types of the catalogs' names; gives how many there are.

    The database's own search_path leads to them before pg_catalog.
    """
    admit(database)
    with connect(database) as session:
        names = {row[0]: row[1] for row in session.execute("SELECT oid::int, format_type(oid, NULL) FROM pg_type").fetchall()}
        columns = dict(session.execute(_COLUMNS, [list(what.relations)]).fetchall())
    planted = 0
    with connect(database, as_mallory=True) as session:
        for statements in [*_functions(what.calls, names), *_views(columns), *_types()]:
            try:
                with session.transaction():
                    for statement in statements:
                        session.execute(statement.encode())
            except psycopg.errors.DuplicateFunction:
                continue  # planted for another call
            except (psycopg.errors.InvalidFunctionDefinition, psycopg.errors.FeatureNotSupported, psycopg.errors.WrongObjectType):
                continue  # nobody can plant that, for example arguments of a pseudo-type
            except psycopg.errors.InsufficientPrivilege:
                continue
            planted += 1
    database.psql(f"ALTER DATABASE {quoted(database.name)} SET search_path = public, pg_catalog")
    return planted


_COLUMNS = """
    SELECT c.relname::text, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND a.atttypid <> 'anyarray'::regtype
    WHERE c.relnamespace = 11 AND c.relname = ANY (%s) GROUP BY 1
"""


def _functions(calls: Iterable[Call], names: Mapping[int, str]) -> Iterator[list[str]]:
    numbers = itertools.count()
    for call in sorted(calls, key=repr):
        combinations = list(itertools.product(*call.arguments))
        if len(combinations) > _COMBINATIONS:
            combinations = [tuple(types[i] for types in call.arguments) for i in (0, -1)]
        for arguments in combinations:
            types = [names[oid] for oid in arguments]
            yield _one(call, types, names[call.result], next(numbers))


def _one(call: Call, types: list[str], result: str, number: int) -> list[str]:
    """Says that it was called, and does what the built-in one does, so that the run goes on."""
    what = f"{call.kind} {call.name}({', '.join(types)})"
    parameters = [f"${n}" for n in range(1, len(types) + 1)]
    inner = f"public.planted_{number}"
    if call.kind == "operator":
        sides = ("LEFTARG", "RIGHTARG")[-len(types) :]
        operands = ", ".join(f"{side} = {type}" for side, type in zip(sides, types, strict=True))
        gives = f" OPERATOR(pg_catalog.{call.name}) ".join(["", *parameters][-2:])
        return [
            function(inner, types, result, what, gives=gives),
            f"CREATE OPERATOR public.{call.name} (FUNCTION = {inner}, {operands})",
        ]
    if call.kind == "aggregate":
        return [
            function(inner, [result, *types], result, what),
            f"CREATE AGGREGATE public.{quoted(call.name)} ({', '.join(types) or '*'}) (SFUNC = {inner}, STYPE = {result})",
        ]
    returns = f"SETOF {result}" if call.is_set else result
    gives = f"pg_catalog.{quoted(call.name)}({', '.join(parameters)})"
    return [function(f"public.{quoted(call.name)}", types, returns, what, call.columns, gives=gives)]


def function(name: str, types: Iterable[str], returns: str, what: str, columns: str = "", gives: str = "NULL") -> str:
    """A function that says that it was called, and gives the SQL expression `gives`."""
    answer = f"RETURN {gives};"
    if columns or returns == "void":
        answer = "RETURN;"
    elif returns.startswith("SETOF"):
        answer = f"RETURN QUERY SELECT {gives};"
    parameters = ", ".join([*types, *([columns] if columns else [])])
    return (
        f"CREATE FUNCTION {name}({parameters}) RETURNS {returns} LANGUAGE plpgsql IMMUTABLE "
        f"AS $planted$BEGIN {says(what)} {answer} END$planted$"
    )


def _views(columns: Mapping[str, str]) -> Iterator[list[str]]:
    for name, listed in columns.items():
        mark = f"public.{quoted('planted_view_' + name)}"
        yield [
            function(mark, [], "boolean", f"view {name}", gives="true"),
            f"CREATE VIEW public.{quoted(name)} AS SELECT {listed} FROM pg_catalog.{quoted(name)} WHERE {mark}()",
        ]


_TYPES = "text oid regclass regtype json jsonb timestamptz float8 int4 int8 name uuid bytea bool inet".split()
"""Types whose names are looked up like those of tables."""


def _types() -> Iterator[list[str]]:
    for name in _TYPES:
        mark = f"public.planted_type_{name}"
        yield [
            function(mark, [f"pg_catalog.{name}"], "boolean", f"type {name}", gives="true"),
            f"CREATE DOMAIN public.{name} AS pg_catalog.{name} CHECK ({mark}(VALUE))",
        ]


# Objects of a table's owner

MARKS = """
    CREATE FUNCTION mark(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN RAISE LOG 'planted % called by %/%', what, current_user, session_user; RETURN true; END $$;
    CREATE FUNCTION mark_time(what text) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN RAISE LOG 'planted % called by %/%', what, current_user, session_user; RETURN '2020-01-01'; END $$;
    CREATE FUNCTION mark_value(what text, value anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN RAISE LOG 'planted % called by %/%', what, current_user, session_user; RETURN value; END $$;
    CREATE FUNCTION mark_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE LOG 'planted trigger % called by %/%', TG_NAME, current_user, session_user; RETURN coalesce(NEW, OLD); END $$;
"""

_ROWS = "INSERT OR UPDATE OR DELETE ON {table}"
_HIDE = "ALTER TABLE {table} RENAME TO hidden_{name};"

OBJECTS: dict[str, str] = {
    "nothing": "",
    "triggers": f"""
        CREATE TRIGGER {{name}}_before BEFORE {_ROWS} FOR EACH ROW EXECUTE FUNCTION mark_change();
        CREATE TRIGGER {{name}}_after AFTER {_ROWS} FOR EACH STATEMENT EXECUTE FUNCTION mark_change();
        CREATE CONSTRAINT TRIGGER {{name}}_late AFTER {_ROWS} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION mark_change();""",
    "rules": "".join(
        f"CREATE RULE {{name}}_{event} AS ON {event} TO {{table}} DO ALSO SELECT mark('rule');"
        for event in ("INSERT", "UPDATE", "DELETE")
    ),
    "policy": """ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        CREATE POLICY {name}_policy ON {table} USING (mark('policy')) WITH CHECK (mark('policy'));""",
    "default": "ALTER TABLE {table} ALTER {dated} SET DEFAULT mark_time('default');",
    "default-of-a-further-column": "ALTER TABLE {table} ADD extra timestamptz DEFAULT mark_time('default');",
    "generated-column": "ALTER TABLE {table} ADD extra boolean GENERATED ALWAYS AS (mark('generated')) STORED;",
    "check": "ALTER TABLE {table} ADD CHECK (mark('check'));",
    "domain-of-a-further-column": """CREATE DOMAIN {name}_domain AS text CHECK (mark('domain'));
        ALTER TABLE {table} ADD extra {name}_domain;""",
    "domain": """CREATE DOMAIN {name}_domain AS {type} CHECK (mark('domain'));
        ALTER TABLE {table} ALTER {column} TYPE {name}_domain;""",
    "type-with-a-cast": """CREATE TYPE {name}_type AS ENUM ('then');
        CREATE FUNCTION {name}_cast({name}_type) RETURNS {type} LANGUAGE plpgsql IMMUTABLE AS $$
            BEGIN RAISE LOG 'planted cast called by %/%', current_user, session_user; RETURN NULL; END $$;
        CREATE CAST ({name}_type AS {type}) WITH FUNCTION {name}_cast({name}_type) AS IMPLICIT;
        TRUNCATE {table};
        ALTER TABLE {table} ALTER {column} DROP NOT NULL, ALTER {column} TYPE {name}_type USING 'then'::{name}_type;""",
    "index-expression": "CREATE INDEX ON {table} ((mark('index expression')));",
    "index-predicate": "CREATE INDEX ON {table} ({column}) WHERE mark('index predicate');",
    "statistics": "CREATE STATISTICS {name}_statistics ON (mark('statistics')), {column} FROM {table};",
    "child": """CREATE TABLE {name}_child (CHECK (mark('check of a child'))) INHERITS ({table});
        CREATE INDEX ON {name}_child ((mark('index of a child')));""",
    "view": f"""{_HIDE} CREATE VIEW {{table}} AS SELECT * FROM hidden_{{name}} WHERE mark('view');
        CREATE TRIGGER {{name}}_instead INSTEAD OF {_ROWS} FOR EACH ROW EXECUTE FUNCTION mark_change();""",
    "partitions": f"""{_HIDE} CREATE TABLE {{table}} (LIKE hidden_{{name}} INCLUDING DEFAULTS)
            PARTITION BY LIST (mark_value('partition key', {{column}}));
        CREATE TABLE {{name}}_part PARTITION OF {{table}} DEFAULT;""",
    "foreign-table": f"""{_HIDE} CREATE FOREIGN TABLE {{table}} ({{column}} {{type}} DEFAULT NULL, CHECK (mark('foreign table')))
        SERVER nowhere;""",
}
"""What a table's owner may add to it; for tables called `table` whose schema is public."""


def plant(database: Database, kind: str, table: str, *, column: str, type: str, dated: str) -> None:
    """As the owner of a table add an object of a kind to it. `column` and `type` are of a column that our SQL compares."""
    names = {"table": table, "name": table.strip("_"), "column": column, "type": type, "dated": dated}
    database.psql(f"SET search_path = public; {OBJECTS[kind].format(**names)}", user=MALLORY)
