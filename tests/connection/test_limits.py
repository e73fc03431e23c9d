"""How many connections to one server are open at once, with real greenlets."""

from __future__ import annotations

import gevent
import pytest

from deploy.connection import conninfo, limits
from deploy.connection.connections import Connections
from deploy.connection.limits import ConnectionLimit, FullServer
from deploy.settings import Settings


class Holder:
    """Whoever holds a connection: `open` says whether it does."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self.limit = limit
        self.open = False

    def use(self) -> None:
        if self.open:
            self.limit.reuse(self)
        else:
            self.limit.acquire(self)
            self.open = True

    def release(self) -> None:
        self.limit.release_idle(self, self._drop)

    def close(self) -> None:
        self.open = False
        self.limit.release(self)

    def _drop(self) -> None:
        self.open = False


def test_slots_up_to_the_limit_are_taken_at_once() -> None:
    limit = ConnectionLimit(2)
    for _ in range(2):
        Holder(limit).use()


def test_who_comes_after_the_limit_waits_until_a_connection_is_closed() -> None:
    limit = ConnectionLimit(1)
    first, second = Holder(limit), Holder(limit)
    first.use()
    waiter = gevent.spawn(second.use)
    gevent.sleep(0)
    assert not second.open
    first.close()
    waiter.join(timeout=5)
    assert (first.open, second.open) == (False, True)


def test_a_waiter_gets_the_slot_of_the_next_that_is_idle() -> None:
    limit = ConnectionLimit(1)
    first, second = Holder(limit), Holder(limit)
    first.use()
    waiter = gevent.spawn(second.use)
    gevent.sleep(0)
    first.release()
    waiter.join(timeout=5)
    assert (first.open, second.open) == (False, True)


def test_the_longest_idle_connection_is_closed_for_a_newcomer() -> None:
    limit = ConnectionLimit(2)
    first, second, third = Holder(limit), Holder(limit), Holder(limit)
    for holder in (first, second):
        holder.use()
        holder.release()
    third.use()
    assert (first.open, second.open, third.open) == (False, True, True)


def test_an_idle_connection_that_is_used_again_is_not_taken_away() -> None:
    limit = ConnectionLimit(1)
    first, second = Holder(limit), Holder(limit)
    first.use()
    first.release()
    first.use()
    waiter = gevent.spawn(second.use)
    gevent.sleep(0)
    assert (first.open, second.open) == (True, False)
    first.release()
    waiter.join(timeout=5)
    assert (first.open, second.open) == (False, True)


def test_a_closed_connection_that_was_idle_frees_one_slot_and_not_two() -> None:
    limit = ConnectionLimit(1)
    first, second, third = Holder(limit), Holder(limit), Holder(limit)
    first.use()
    first.release()
    first.close()
    second.use()
    waiter = gevent.spawn(third.use)
    gevent.sleep(0)
    assert (second.open, third.open) == (True, False)
    second.close()
    waiter.join(timeout=5)


def test_a_hundred_hosts_share_three_slots_and_all_get_their_turns() -> None:
    limit = ConnectionLimit(3)
    holders = [Holder(limit) for _ in range(100)]
    most = 0

    def work(holder: Holder) -> None:
        nonlocal most
        for round in range(5):
            holder.use()
            most = max(most, sum(other.open for other in holders))
            gevent.sleep(0.0005 * (round % 2))
            assert holder.open
            holder.release()
        if holder.open:
            holder.close()

    workers = [gevent.spawn(work, holder) for holder in holders]
    gevent.joinall(workers, timeout=30, raise_error=True)
    assert all(worker.successful() for worker in workers)
    assert most == 3


@pytest.mark.parametrize(("name", "same"), [("a:5432/x", True), ("a:5433/x", False), ("b:5432/x", False)])
def test_a_server_is_a_host_and_a_port_whatever_the_database(name: str, same: bool) -> None:
    connections = Connections()
    first, second = (connections.exclusive_use(conninfo.endpoint(one, Settings())) for one in ("a:5432/y", name))
    assert (first is second) is same


def test_a_full_server_gets_our_idle_connections_back() -> None:
    limit = ConnectionLimit(3)
    idle, busy, newcomer = (Holder(limit) for _ in range(3))
    for holder in (idle, busy, newcomer):
        holder.use()
    idle.release()
    limit.close_idle()
    assert (idle.open, busy.open, newcomer.open) == (False, True, True)
    idle.use()
    assert idle.open


def test_hosts_of_a_full_server_share_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    full = FullServer()
    waited = []
    for step in (0, 5, 5):
        now[0] += step
        waited.append(full.seconds_without_a_slot())
    assert waited == [0, 5, 10]
    now[0] += 60
    assert full.seconds_without_a_slot() == 0, "after a minute without a refusal the next one begins a new wait"
    now[0] += 5
    full.accepted()
    assert full.seconds_without_a_slot() == 0
