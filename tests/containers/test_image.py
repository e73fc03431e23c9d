"""The image does what the official one does, as far as the tests use it, and the main job runs on it."""

from __future__ import annotations

import os

import pytest
from support.containers import PASSWORD, Start
from support.operator import Pyinfra

pytestmark = pytest.mark.everything


def test_a_container_is_deployed_and_a_second_run_changes_nothing(start: Start, pyinfra: Pyinfra) -> None:
    server = start()
    hosts = {"@postgres/app": server.data}
    environment = {**os.environ, "PGPASSWORD": PASSWORD}

    first = pyinfra(hosts, "-y", "deploy.apply", environment=environment)
    second = pyinfra(hosts, "-y", "deploy.apply", environment=environment)

    assert (first.code, first.change("Migrate")) == (0, "success"), first.out
    assert (second.code, second.change("Migrate")) == (0, "no change"), second.out
    assert server.deployed()
