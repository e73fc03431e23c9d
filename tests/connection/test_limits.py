"""How many connections to one server are open at once, with real greenlets."""

from __future__ import annotations

import gevent
import pytest
from deploy.leases import Slots

from deploy import leases


class Holder:
    """Whoever holds a connection: `open` says whether it does."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.open = False

    def use(self) -> None:
        if self.open:
            self.slots.resume(self)
        else:
            self.slots.take(self)
            self.open = True

    def park(self) -> None:
        self.slots.park(self, self._drop)

    def close(self) -> None:
        self.open = False
        self.slots.give_back(self)

    def _drop(self) -> None:
        self.open = False


def test_slots_up_to_the_limit_are_taken_at_once() -> None:
    slots = Slots(2)
    for _ in range(2):
        Holder(slots).use()


def test_who_comes_after_the_limit_waits_until_a_connection_is_closed() -> None:
    slots = Slots(1)
    first, second = Holder(slots), Holder(slots)
    first.use()
    waiter = gevent.spawn(second.use)
    gevent.sleep(0)
    assert not second.open
    first.close()
    waiter.join(timeout=5)
    assert (first.open, second.open) == (False, True)


def test_a_waiter_gets_the_slot_of_the_next_that_is_parked() -> None:
    slots = Slots(1)
    first, second = Holder(slots), Holder(slots)
    first.use()
    waiter = gevent.spawn(second.use)
    gevent.sleep(0)
    first.park()
    waiter.join(timeout=5)
    assert (first.open, second.open) == (False, True)


def test_the_longest_parked_connection_is_closed_for_a_newcomer() -> None:
    slots = Slots(2)
    first, second, third = Holder(slots), Holder(slots), Holder(slots)
    for holder in (first, second):
        holder.use()
        holder.park()
    third.use()
    assert (first.open, second.open, third.open) == (False, True, True)


def test_a_parked_connection_that_is_used_again_is_not_taken_away() -> None:
    slots = Slots(1)
    first, second = Holder(slots), Holder(slots)
    first.use()
    first.park()
    first.use()
    waiter = gevent.spawn(second.use)
    gevent.sleep(0)
    assert (first.open, second.open) == (True, False)
    first.park()
    waiter.join(timeout=5)
    assert (first.open, second.open) == (False, True)


def test_a_closed_connection_that_was_parked_frees_one_slot_and_not_two() -> None:
    slots = Slots(1)
    first, second, third = Holder(slots), Holder(slots), Holder(slots)
    first.use()
    first.park()
    first.close()
    second.use()
    waiter = gevent.spawn(third.use)
    gevent.sleep(0)
    assert (second.open, third.open) == (True, False)
    second.close()
    waiter.join(timeout=5)


def test_a_hundred_hosts_share_three_slots_and_all_get_their_turns() -> None:
    slots = Slots(3)
    holders = [Holder(slots) for _ in range(100)]
    most = 0

    def work(holder: Holder) -> None:
        nonlocal most
        for turn in range(5):
            holder.use()
            most = max(most, sum(other.open for other in holders))
            gevent.sleep(0.0005 * (turn % 2))
            assert holder.open
            holder.park()
        if holder.open:
            holder.close()

    workers = [gevent.spawn(work, holder) for holder in holders]
    gevent.joinall(workers, timeout=30, raise_error=True)
    assert all(worker.successful() for worker in workers)
    assert most == 3


@pytest.mark.parametrize(("host", "port", "same"), [("a", "5432", True), ("a", "5433", False), ("b", "5432", False)])
def test_a_server_is_a_host_and_a_port(host: str, port: str, same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_servers", {})
    assert (leases.slots("a", "5432", 8) is leases.slots(host, port, 8)) is same


def test_a_full_server_gets_our_idle_connections_back() -> None:
    slots = Slots(3)
    idle, busy, newcomer = (Holder(slots) for _ in range(3))
    for holder in (idle, busy, newcomer):
        holder.use()
    idle.park()
    slots.shed()
    assert (idle.open, busy.open, newcomer.open) == (False, True, True)
    idle.use()
    assert idle.open


def test_hosts_of_a_full_server_share_one_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    slots = Slots(1)
    waited = []
    for step in (0, 5, 5):
        now[0] += step
        waited.append(slots.refused())
    assert waited == [0, 5, 10]
    now[0] += 60
    assert slots.refused() == 0, "after a minute without a refusal the next one is the first of a new row"
    now[0] += 5
    slots.accepted()
    assert slots.refused() == 0
