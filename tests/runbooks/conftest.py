"""The servers of the runbooks' regions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.stage import Servers


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    started: Servers = {}
    yield started
    with ExitStack() as ends:
        for server in started.values():
            ends.callback(server.remove)
