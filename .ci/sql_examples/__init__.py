"""What sqlfluff renders the SQL templates with: their filters, and an example of each of their variables."""

from types import SimpleNamespace

from jinja2 import UndefinedError
from psycopg import ProgrammingError
from sqlfluff.core.parser import Bracketed, OneOf, Ref, Sequence
from sqlfluff.dialects.dialect_ansi import TransactionStatementSegment
from sqlfluff.dialects.dialect_postgres import TableExpressionSegment

from deploy.connection.quoting import ident, literal

# What the dialect of sqlfluff 4.5 does not know: modes of transactions, savepoints, CLOSE ALL, UNLISTEN and FROM ONLY.
TransactionStatementSegment.match_grammar = OneOf(
    Sequence(
        OneOf("BEGIN", "COMMIT", "ROLLBACK"),
        Ref.keyword("TRANSACTION", optional=True),
        Sequence("ISOLATION", "LEVEL", OneOf(Sequence("REPEATABLE", "READ"), Sequence("READ", "COMMITTED")), optional=True),
        Sequence("READ", OneOf("ONLY", "WRITE"), optional=True),
        Sequence("TO", "SAVEPOINT", Ref("SingleIdentifierGrammar"), optional=True),
    ),
    Sequence("SAVEPOINT", Ref("SingleIdentifierGrammar")),
    Sequence("CLOSE", "ALL"),
    Sequence("UNLISTEN", Ref("StarSegment")),
)
TableExpressionSegment.match_grammar = OneOf(
    Ref("ValuesClauseSegment"),
    Ref("BareFunctionSegment"),
    Sequence(Ref("FunctionSegment"), Sequence("WITH", "ORDINALITY", optional=True)),
    Sequence(Ref.keyword("ONLY", optional=True), Ref("TableReferenceSegment")),
    Bracketed(Ref("SelectableGrammar")),
)


def _literal(value: object) -> str:
    try:
        return literal(value)
    except ProgrammingError:
        raise UndefinedError(f"{getattr(value, 'name', value)}: no example of this variable in .ci/sql_examples") from None


SQLFLUFF_JINJA_FILTERS = {"ident": ident, "literal": _literal}

# whose rendered text is SQL
query = SimpleNamespace(
    sql="SELECT 1", table="integration_events", index="idx_integration_events_type", parameters=("event_type", "since")
)
settings = "SET LOCAL lock_timeout = 5000;\n"

# names
column = "occurred_at"
history = '"public"."_deploy_history"'
history_table = "_deploy_history"
index = '"public"."idx_integration_events_type"'
ledger = '"public"."_sqlx_migrations"'
ledger_schema = "public"
private_schema = True
ledger_table = "_sqlx_migrations"
name = "columns"
owner = "owner"
schema = "public"
schemas = ("public",)
create_schemas = ("public",)
scope = "LOCAL"
table = '"public"."integration_events"'

# of contracts
branches = ("schemas", "relations", "columns", "constraints", "indexes", "triggers", "statistics", "functions")
branches += ("types", "rarer", "database")
further_schemas = ["audit"]
has_comments = has_privileges = has_storage = True
known = ["00"]
left_out = ["_sqlx_migrations"]
records = ((20260111030835, "create integration health tables", "00ff"),)
plain = False
relations = None

# values
about = "definition"
action = "apply"
before = "2026-01-11 00:00:00+00"
checksum = "00ff"
client_host = "laptop"
client_user = "operator"
create_table = True
cutoffs = None
days = 90
description = "create integration health tables"
execution_time = 1
first = 1
health_days = 90
keeps_newest = True
key = 1
last = 100
ledger_exists = True
lock_factor = 1
lock_timeout = 5000
lock_wait = 5000
migrations = ("CREATE TABLE integration_health (id UUID);",)
mode = "READ ONLY"
old = "00ff"
pid = 1
query_budget_ms = 100
removed = (("drop", 1, 0),)
rows = 10000
runs = 200
seconds = 5
session_pid = 1
since = "-infinity"
statement_timeout = 60000
succeeded = True
template = "00ff"
tool_version = "0.1.0"
total = 100
variables = "{}"
version = 20260111030835
