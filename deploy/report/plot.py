"""Latencies against their budgets as a plot: one strip a query, all on the same logarithmic scale. Coordinates only. Pure.

Horizontal positions are per cent of the width, so that a strip fits a phone and a page without scaling its text.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deploy.findings import QueryTiming
from deploy.report.fleet import Fleet

LANES = 9
"""Marks that would cover each other are spread over so many lanes."""

_MARGIN = 3.0
_CROWDED = 0.7
"""Marks closer than this, in per cent of the width, count as covering each other."""


@dataclass(frozen=True)
class Mark:
    """One host's value: `x` in per cent, `lane` from -1 to 1 around the middle of its row."""

    host: str
    ms: float
    x: float
    lane: float
    over: bool


@dataclass(frozen=True)
class Strip:
    """One query on every host that was probed; `worst` is the one with the highest p95 and `worst_host` its host."""

    query: str
    budget_ms: float
    budget_x: float
    p50: tuple[Mark, ...]
    p95: tuple[Mark, ...]
    worst: QueryTiming
    worst_host: str
    median_p50_ms: float
    over: int


@dataclass(frozen=True)
class Tick:
    label: str
    x: float


@dataclass(frozen=True)
class Plot:
    """`strips` is empty when nothing was measured."""

    ticks: tuple[Tick, ...]
    strips: tuple[Strip, ...]


def plot(fleet: Fleet) -> Plot:
    timings: dict[str, list[tuple[str, QueryTiming]]] = defaultdict(list)
    for host in fleet.hosts:
        for query in host.queries:
            timings[query.name].append((host.host, query))
    if not timings:
        return Plot((), ())
    values = [value for rows in timings.values() for _, query in rows for value in (query.p50_ms, query.p95_ms, query.budget_ms)]
    low = math.floor(math.log10(max(min(values), 0.001)))
    high = max(math.ceil(math.log10(max(*values, 0.001)) + 0.02), low + 1)

    def x(ms: float) -> float:
        share = (math.log10(max(ms, 10.0**low)) - low) / (high - low)
        return round(_MARGIN + share * (100 - 2 * _MARGIN), 2)

    ticks = tuple(Tick(f"{10.0**power:g}" + (" ms" if power == high else ""), x(10.0**power)) for power in range(low, high + 1))
    return Plot(ticks, tuple(_strip(name, rows, x) for name, rows in timings.items()))


def _strip(name: str, rows: list[tuple[str, QueryTiming]], x: Callable[[float], float]) -> Strip:
    worst_host, worst = max(rows, key=lambda row: row[1].p95_ms)
    medians = sorted(query.p50_ms for _, query in rows)
    budget = min(query.budget_ms for _, query in rows)
    return Strip(
        query=name,
        budget_ms=budget,
        budget_x=x(budget),
        p50=_spread((host, query.p50_ms, x(query.p50_ms), False) for host, query in rows),
        p95=_spread((host, query.p95_ms, x(query.p95_ms), not query.within_budget) for host, query in rows),
        worst=worst,
        worst_host=worst_host,
        median_p50_ms=medians[len(medians) // 2],
        over=sum(not query.within_budget for _, query in rows),
    )


def _spread(values: Iterable[tuple[str, float, float, bool]]) -> tuple[Mark, ...]:
    """Marks from left to right; a crowd is spread over the lanes from the middle outwards, always in the same way."""
    marks: list[Mark] = []
    crowd, start = 0, -math.inf
    for host, ms, place, over in sorted(values, key=lambda value: (value[2], value[0])):
        crowd, start = (crowd + 1, start) if place - start < _CROWDED else (0, place)
        step = crowd % LANES
        lane = (step + 1) // 2 * (1 if step % 2 else -1) / (LANES // 2)
        marks.append(Mark(host, ms, place, lane, over))
    return tuple(marks)
