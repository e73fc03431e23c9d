"""Ways in which a correct schema can go wrong: what is found, and the SQL that does it. And neighbours that do no harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HEALTH, EVENTS = "integration_health", "integration_events"
UNIQUE = "integration_health_integration_id_last_checked_key"

COLUMNS = {
    f"{HEALTH}.id": "uuid",
    f"{HEALTH}.integration_id": "varchar(50) not null",
    f"{HEALTH}.status": "varchar(20) not null",
    f"{HEALTH}.pricing_sync_status": "varchar(20)",
    f"{HEALTH}.fees_sync_status": "varchar(20)",
    f"{HEALTH}.booking_loss_rate": "numeric(5,4)",
    f"{HEALTH}.error_rate": "numeric(5,4)",
    f"{HEALTH}.last_checked": "timestamptz not null",
    f"{HEALTH}.created_at": "timestamptz default now()",
    f"{HEALTH}.updated_at": "timestamptz default now()",
    f"{EVENTS}.id": "uuid",
    f"{EVENTS}.integration_id": "varchar(50) not null",
    f"{EVENTS}.event_type": "varchar(50) not null",
    f"{EVENTS}.severity": "varchar(20) not null",
    f"{EVENTS}.message": "text",
    f"{EVENTS}.metadata": "jsonb",
    f"{EVENTS}.occurred_at": "timestamptz not null",
    f"{EVENTS}.created_at": "timestamptz default now()",
}

OTHER_TYPES = {
    "uuid": ["text"],
    "varchar(50)": ["varchar(51)", "varchar(49)", "varchar", "text", "char(50)"],
    "varchar(20)": ["varchar(255)", "text"],
    "numeric(5,4)": ["numeric(6,4)", "numeric(5,3)", "numeric", "float8"],
    "timestamptz": ["timestamp", "timestamptz(3)"],
    "text": ["varchar(1000)"],
    "jsonb": ["json"],
}

OTHER_DEFAULTS = {
    "uuid": "md5('x')::uuid",
    "varchar(50)": "'none'",
    "varchar(20)": "'none'",
    "numeric(5,4)": "0.5",
    "timestamptz": "clock_timestamp()",
    "text": "''",
    "jsonb": "'{}'",
}

INDEXES = {
    "idx_integration_health_integration": (HEALTH, "integration_id", "status"),
    "idx_integration_health_last_checked": (HEALTH, "last_checked DESC", "created_at DESC"),
    "idx_integration_events_integration": (EVENTS, "integration_id", "severity"),
    "idx_integration_events_occurred_at": (EVENTS, "occurred_at DESC", "created_at DESC"),
    "idx_integration_events_type": (EVENTS, "event_type", "severity"),
}


@dataclass(frozen=True)
class Mutation:
    """`object` is what the violation must name; there are `lines` of them. `$schema` in the SQL is a name of its own.

    `fails`: it ends in an error, as meant.
    """

    object: str
    sql: str
    fails: bool = False
    since: int = 13
    lines: int = 1


def _columns() -> Iterator[Mutation]:
    for column, definition in COLUMNS.items():
        table, name = column.split(".")
        change = f"ALTER TABLE {table} ALTER COLUMN {name}"
        kind = definition.split()[0]
        for other in OTHER_TYPES[kind]:
            drop = f"{change} DROP DEFAULT; " if kind == "uuid" else ""
            using = f" USING {name}::text::{other}" if other == "json" else ""
            yield Mutation(column, f"{drop}{change} TYPE {other}{using}")
        if kind != "uuid":
            yield Mutation(column, f"{change} {'DROP' if 'not null' in definition else 'SET'} NOT NULL")
        if kind == "uuid" or "default" in definition:
            yield Mutation(column, f"{change} DROP DEFAULT")
        yield Mutation(column, f"{change} SET DEFAULT {OTHER_DEFAULTS[kind]}")
    yield Mutation(f"{HEALTH}.note", f"ALTER TABLE {HEALTH} ADD COLUMN note text")
    yield Mutation(f"{HEALTH}.error_rate", f"ALTER TABLE {HEALTH} DROP COLUMN error_rate")
    yield Mutation(f"{EVENTS}.message", f"ALTER TABLE {EVENTS} RENAME COLUMN message TO text")
    yield Mutation(f"{EVENTS}.severity", f'ALTER TABLE {EVENTS} ALTER COLUMN severity TYPE varchar(20) COLLATE "POSIX"')
    yield Mutation(
        f"{HEALTH}.updated_at",
        f"ALTER TABLE {HEALTH} DROP COLUMN updated_at; "
        f"ALTER TABLE {HEALTH} ADD COLUMN updated_at timestamptz GENERATED ALWAYS AS (created_at) STORED",
    )
    yield Mutation(
        f"{EVENTS}.event_type",
        f"CREATE DOMAIN kind AS varchar(50); ALTER TABLE {EVENTS} ALTER COLUMN event_type TYPE kind",
    )


def _constraints() -> Iterator[Mutation]:
    for table in (HEALTH, EVENTS):
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey"
        yield Mutation(f"{table}_pkey", drop)
        yield Mutation(f"{table}_pkey", f"{drop}, ADD CONSTRAINT {table}_pkey PRIMARY KEY (id, integration_id)")
        yield Mutation(f"{table}_pkey", f"{drop}; CREATE UNIQUE INDEX {table}_pkey ON {table} (id)")
        yield Mutation(f"{table}_pkey", f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{table}_pkey'::regclass")
    drop = f"ALTER TABLE {HEALTH} DROP CONSTRAINT {UNIQUE}"
    yield Mutation(UNIQUE, drop)
    for columns in (
        "(last_checked, integration_id)",
        "(integration_id)",
        "(integration_id, last_checked, status)",
        "(integration_id, last_checked) INCLUDE (status)",
        "(integration_id, last_checked) DEFERRABLE",
    ):
        yield Mutation(UNIQUE, f"{drop}, ADD CONSTRAINT {UNIQUE} UNIQUE {columns}")
    yield Mutation(UNIQUE, f"{drop}, ADD CONSTRAINT {UNIQUE} UNIQUE NULLS NOT DISTINCT (integration_id, last_checked)", since=15)
    yield Mutation(UNIQUE, f"{drop}; CREATE UNIQUE INDEX {UNIQUE} ON {HEALTH} (integration_id, last_checked)")
    yield Mutation(UNIQUE, f"ALTER TABLE {HEALTH} RENAME CONSTRAINT {UNIQUE} TO other")
    yield Mutation("extra", f"ALTER TABLE {HEALTH} ADD CONSTRAINT extra UNIQUE (integration_id, last_checked)")
    yield Mutation(UNIQUE, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{UNIQUE}'::regclass")
    add = f"ALTER TABLE {EVENTS} ADD CONSTRAINT extra"
    yield Mutation("extra", f"{add} UNIQUE (integration_id, occurred_at)")
    yield Mutation("extra", f"{add} CHECK (severity <> '')")
    yield Mutation("extra", f"{add} CHECK (severity <> '') NOT VALID")
    yield Mutation("extra", f"{add} CHECK (severity <> '') NOT ENFORCED", since=18)
    yield Mutation("extra", f"{add} EXCLUDE USING btree (integration_id WITH =)")
    yield Mutation(f"{EVENTS}.message", f"{add} NOT NULL message NOT VALID", since=18)
    yield Mutation(
        f"{EVENTS}.severity",
        f"ALTER TABLE {EVENTS} ALTER severity DROP NOT NULL; {add} NOT NULL severity NOT VALID",
        since=18,
    )
    yield Mutation(
        "extra", f"CREATE TABLE partner (id varchar(50) PRIMARY KEY); {add} FOREIGN KEY (integration_id) REFERENCES partner"
    )
    yield Mutation(
        "extra",
        f"CREATE TABLE partner (id varchar(50) PRIMARY KEY); {add} FOREIGN KEY (integration_id) REFERENCES partner NOT VALID",
    )


def _indexes() -> Iterator[Mutation]:
    for index, (table, key, elsewhere) in INDEXES.items():
        drop, column = f"DROP INDEX {index}", key.split()[0]
        yield Mutation(index, drop)
        yield Mutation(index, f"ALTER INDEX {index} RENAME TO {index}_old")
        yield Mutation(index, f"{drop}; CREATE INDEX {index} ON {table} ({elsewhere})")
        yield Mutation(index, f"{drop}; CREATE INDEX {index} ON {table} ({column if 'DESC' in key else column + ' DESC'})")
        yield Mutation(index, f"{drop}; CREATE INDEX {index} ON {table} ({key}) WHERE id IS NOT NULL")
        yield Mutation(index, f"{drop}; CREATE UNIQUE INDEX {index} ON {table} ({key})")
        yield Mutation(index, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass")
    index = "idx_integration_events_type"
    for definition in (
        "USING hash (event_type)",
        "(event_type text_pattern_ops)",
        '(event_type COLLATE "POSIX")',
        "(lower(event_type))",
        "(event_type, occurred_at)",
        "(event_type) INCLUDE (severity)",
        "(event_type NULLS FIRST)",
    ):
        yield Mutation(index, f"DROP INDEX {index}; CREATE INDEX {index} ON {EVENTS} {definition}")
    yield Mutation(index, f"UPDATE pg_index SET indisready = false WHERE indexrelid = '{index}'::regclass")
    yield Mutation(index, f"UPDATE pg_index SET indislive = false WHERE indexrelid = '{index}'::regclass")
    yield Mutation(index, f"DROP INDEX {index}; CREATE INDEX {index} ON {HEALTH} (status)")
    yield Mutation(
        index,
        f"INSERT INTO {EVENTS} (integration_id, event_type, severity, occurred_at) SELECT 'x', 'x', 'x', now() FROM generate_series(1, 2);\n"
        f"DROP INDEX {index};\nCREATE UNIQUE INDEX CONCURRENTLY {index} ON {EVENTS} (event_type)",
        fails=True,
    )
    yield Mutation("extra", f"CREATE UNIQUE INDEX extra ON {EVENTS} (integration_id, occurred_at)")
    yield Mutation("extra", f"CREATE UNIQUE INDEX extra ON {HEALTH} (lower(status)) WHERE status IS NULL")


def _tables() -> Iterator[Mutation]:
    for table in (HEALTH, EVENTS):
        yield Mutation(table, f"DROP TABLE {table}")
        yield Mutation(table, f"ALTER TABLE {table} RENAME TO {table}_old")
        yield Mutation(table, f"ALTER TABLE {table} RENAME TO t; CREATE VIEW {table} AS SELECT * FROM t")
        yield Mutation(table, f"ALTER TABLE {table} SET UNLOGGED")
        yield Mutation(table, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        yield Mutation(table, f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        yield Mutation(table, f"CREATE TABLE child () INHERITS ({table})")
        yield Mutation(table, f"CREATE TABLE parent (status varchar(20), severity varchar(20)); "
                       f"ALTER TABLE parent DROP COLUMN {'severity' if table == HEALTH else 'status'}; "
                       f"ALTER TABLE {table} INHERIT parent")  # fmt: skip
        yield Mutation(
            table,
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
            f"CREATE TRIGGER quiet BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION nothing()",
        )
        yield Mutation(table, f"CREATE RULE quiet AS ON INSERT TO {table} DO INSTEAD NOTHING")
        yield Mutation(table, f"ALTER TABLE {table} SET SCHEMA elsewhere; ALTER TABLE elsewhere.{table} RENAME TO $schema")
    yield Mutation(EVENTS, f"DROP TABLE {EVENTS}; CREATE MATERIALIZED VIEW {EVENTS} AS SELECT * FROM {HEALTH}")
    yield Mutation(
        EVENTS,
        f"ALTER TABLE {EVENTS} RENAME TO t; CREATE TABLE {EVENTS} (LIKE t INCLUDING DEFAULTS) PARTITION BY RANGE (occurred_at)",
        lines=5,  # itself, its primary key, three indexes
    )
    yield Mutation(
        HEALTH,
        f"CREATE TABLE whole (LIKE {HEALTH}) PARTITION BY LIST (status); ALTER TABLE whole ATTACH PARTITION {HEALTH} DEFAULT",
    )
    yield Mutation(EVENTS, f"DROP TABLE {EVENTS}; CREATE SEQUENCE {EVENTS}")


MUTATIONS = (*_columns(), *_constraints(), *_indexes(), *_tables())


def schemas(version: int) -> dict[str, Mutation]:
    """Each mutation of a server of that version, by the name of a schema for it."""
    return {f"m{number:03}": mutation for number, mutation in enumerate(MUTATIONS) if mutation.since <= version}


def script(migration: str, mutations: Mapping[str, Mutation]) -> str:
    """For psql: the schemas, each with the migration and its mutation."""
    lines = ["CREATE SCHEMA elsewhere;"]
    for schema, mutation in mutations.items():
        lines += [
            f"CREATE SCHEMA {schema};",
            f"SET search_path = {schema};",
            migration,
            f"\\set ON_ERROR_STOP {'off' if mutation.fails else 'on'}",
            f"{mutation.sql.replace('$schema', schema)};",
            "\\set ON_ERROR_STOP on",
        ]
    return "\n".join(lines)


HARMLESS = f"""
CREATE INDEX added ON {EVENTS} (integration_id, occurred_at DESC);
CREATE INDEX added_partial ON {HEALTH} (status) WHERE status <> 'healthy';
CREATE INDEX added_gin ON {EVENTS} USING gin (metadata);
CREATE INDEX CONCURRENTLY added_concurrently ON {EVENTS} (severity);
COMMENT ON TABLE {EVENTS} IS 'what happened';
COMMENT ON COLUMN {HEALTH}.status IS 'healthy, warning, critical';
COMMENT ON INDEX idx_integration_events_type IS 'by type';
CREATE STATISTICS shares ON integration_id, event_type FROM {EVENTS};
ALTER TABLE {EVENTS} ALTER COLUMN event_type SET STATISTICS 500;
ALTER TABLE {EVENTS} ALTER COLUMN message SET STORAGE EXTERNAL;
ALTER TABLE {HEALTH} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER INDEX idx_integration_events_occurred_at SET (fillfactor = 70);
ALTER INDEX {UNIQUE} SET (fillfactor = 70);
ALTER TABLE {HEALTH} RENAME CONSTRAINT integration_health_pkey TO health_pk;
ALTER TABLE {HEALTH} CLUSTER ON idx_integration_health_integration;
ALTER TABLE {EVENTS} REPLICA IDENTITY FULL;
CREATE TABLE notes (event uuid REFERENCES {EVENTS}, health uuid REFERENCES {HEALTH} ON DELETE CASCADE);
CREATE VIEW recent AS SELECT * FROM {EVENTS} WHERE occurred_at > now() - interval '1 day';
CREATE PUBLICATION published FOR TABLE {EVENTS};
GRANT SELECT ON {EVENTS} TO PUBLIC;
CREATE SCHEMA other;
CREATE TABLE other.{HEALTH} (id int PRIMARY KEY);
CREATE TABLE other.{EVENTS} (id int UNIQUE);
ALTER TABLE {EVENTS} ADD COLUMN mistake int;
ALTER TABLE {EVENTS} DROP COLUMN mistake;
INSERT INTO {HEALTH} (integration_id, status, last_checked) VALUES ('vrbo', 'healthy', now());
INSERT INTO {EVENTS} (integration_id, event_type, severity, occurred_at) VALUES ('vrbo', 'booking_loss', 'low', now());
ANALYZE;
"""
