"""What a hostile role plants in a database, and who was made to call it.

Whatever is planted says so in the server's log, where neither a rollback nor a READ ONLY transaction takes it back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

import psycopg

from support.calls import Call, Seen
from support.servers import Database, quoted
from support.sessions import log_entries, pinned_session

MALLORY = "mallory"
"""A role that may do no more than log in, and create in schema public as everybody may before PostgreSQL 15."""

_COMBINATIONS = 64
"""So many overloads are planted for one call at most."""


def admit(database: Database) -> None:
    """Let the hostile role in, as PostgreSQL 14 does with its default schema public."""
    database.psql(f"""DO $$ BEGIN CREATE ROLE {MALLORY} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC;""")


def called(database: Database) -> list[str]:
    """What was planted and called by our own sessions in this database: its name and by whom, in order."""
    return log_entries(database, "LOG:  planted ")


def says(what: str) -> str:
    """The statement of a plpgsql body that tells the log who called it."""
    text = what.replace("'", "''").replace("%", "%%")
    return f"RAISE LOG 'planted {text} called by %/%', current_user, session_user;"


def overload(database: Database, what: Seen) -> int:
    """Plant an overload for each call and argument type, and views and types of the catalogs' names; gives how many there are.

    They are called by whom search_path leads to them before pg_catalog.
    """
    admit(database)
    with pinned_session(database) as session:
        names = {row[0]: row[1] for row in session.execute("SELECT oid::int, format_type(oid, NULL) FROM pg_type").fetchall()}
        columns = dict(session.execute(_COLUMNS, [list(what.relations)]).fetchall())
    planted = 0
    with pinned_session(database) as session:
        session.execute(f"SET SESSION AUTHORIZATION {MALLORY}".encode())
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
    return planted


def mislead(database: Database) -> None:
    """Let the database's own search_path lead to what was planted before pg_catalog."""
    database.psql(f"ALTER DATABASE {quoted(database.name)} SET search_path = public, pg_catalog")


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


_TYPES = ("text", "oid", "regclass", "regtype", "json", "jsonb", "timestamptz", "float8", "int4", "int8", "name", "uuid", "bytea")
"""Types whose names are looked up like those of tables."""


def _types() -> Iterator[list[str]]:
    for name in _TYPES:
        mark = f"public.planted_type_{name}"
        yield [
            function(mark, [f"pg_catalog.{name}"], "boolean", f"type {name}", gives="true"),
            f"CREATE DOMAIN public.{name} AS pg_catalog.{name} CHECK ({mark}(VALUE))",
        ]


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
