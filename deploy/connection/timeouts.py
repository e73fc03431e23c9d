"""How long the answer to a message is waited for.

The server ends each statement of ours by its `statement_timeout`. When it had that long for all that a message contains, and some
seconds more, it is given up, and the run goes on. pyinfra's `_timeout` goes before that. Without either (a `-- no-transaction`
file, a `statement_timeout` of 0, SQL of `exec`) an answer is waited for as long as the connection lives; TCP keepalives
(conninfo.KEEPALIVES) end it when the machine or the network is gone.
"""

from __future__ import annotations

from deploy.connection.message import File, Message

GRACE = 10.0
"""Seconds beyond what the server was given."""


def message_timeout(message: Message, statement_timeout: int) -> float | None:
    """Seconds to wait for the answer on a host with this `statement_timeout` in milliseconds; None: no limit.

    A file has at most one statement more than semicolons. Other messages of ours are as quick as a single statement may be slow.
    """
    allowed = statement_timeout if message.statement_timeout is None else message.statement_timeout
    statements = sum(part.sql.count(";") + 1 for part in message.parts if isinstance(part, File))
    return allowed / 1000 * max(1, statements) + GRACE if allowed else None
