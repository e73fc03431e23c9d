"""A conversation with a server: a generator of messages that gives what it found. Who sends them is not its business.

The body of an operation hands them on to pyinfra (`yield from`). Where pyinfra need not keep each message and its output to the
end of the run, for reads and for thousands of batches, `drive` has them sent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from deploy.connection.message import Answer, Message
from deploy.errors import StatementFailed

T = TypeVar("T")
Steps = Generator[Message, None, T]
"""`yield message`, then look at `message.answer`."""


def send(message: Message) -> Steps[Answer]:
    """The answer to a message; it has no error. Raises StatementFailed; then the connection has rolled back, or is unconfirmed."""
    yield message
    if message.answer.error is not None:
        raise StatementFailed(message.answer.error, message.answer.rows)
    return message.answer


def drive(steps: Steps[T], ask: Callable[[Message], Answer]) -> T:
    """What the conversation gives; `ask` sends a message. The conversation gets to see what `ask` raises, and may end it."""
    try:
        message = next(steps)
        while True:
            try:
                message.answer = ask(message)
            except Exception as error:
                message = steps.throw(error)
            else:
                message = next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
