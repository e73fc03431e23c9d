"""An error of the server, or of the connection to it, as a value."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg

from deploy.connection.message import Fragment, locate
from deploy.errors import SqlError


def of(error: psycopg.Error, fragments: Sequence[Fragment]) -> SqlError:
    """What the server, or psycopg, says of a message of these fragments."""
    diag = error.diag
    if diag.sqlstate is None:
        reason = " ".join(str(error).split())
        if reason.startswith("COPY cannot"):  # psycopg's advice is for programmers
            reason = "COPY FROM STDIN and TO STDOUT have no data here; write INSERT instead"
        return SqlError(reason, name=_name(fragments), kind="statement")
    name, line, column, text = _name(fragments), None, None, None
    if diag.statement_position:
        name, line, column, text = locate(fragments, int(diag.statement_position))
    return SqlError(
        message=f"{diag.severity}: {diag.message_primary}",
        sqlstate=diag.sqlstate,
        detail=diag.message_detail,
        hint=diag.message_hint,
        context=diag.context,
        name=name,
        line=line,
        column=column,
        text=text,
        schema=diag.schema_name,
        table=diag.table_name,
    )


def lost(label: str, error: psycopg.Error, ssh_failure: str | None, fragments: Sequence[Fragment], repeatable: bool) -> SqlError:
    """Of a connection to `label` that ended under a message: in ssh's words, the server's last or libpq's."""
    reason = re.sub("^consuming input failed: | This probably means .*$", "", " ".join(str(error).split()))
    if error.diag.sqlstate is not None:
        reason = f"{error.diag.sqlstate}: {error.diag.severity}: {error.diag.message_primary}"
    if repeatable:
        step = "what was committed stays, run the command again"
    else:
        step = "look whether it was committed before you run it again"
    return SqlError(f"connection to {label} lost: {ssh_failure or reason}; {step}", name=_name(fragments))


def unconfirmed(warning: str, fragments: Sequence[Fragment]) -> SqlError:
    """Of a message that has committed without the word of a synchronous standby."""
    text = (
        f"committed on this server, but no synchronous standby has confirmed it ({warning}); what was done stays, look at "
        "pg_stat_replication and synchronous_standby_names, and run the command again when the standby is back"
    )
    return SqlError(text, name=_name(fragments), kind="unconfirmed")


def _name(fragments: Sequence[Fragment]) -> str | None:
    """The file that all of the message is of, if it is of one."""
    names = {fragment.name for fragment in fragments if fragment.name is not None}
    return names.pop() if len(names) == 1 else None
