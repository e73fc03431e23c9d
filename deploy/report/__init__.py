"""The report of a run in three forms: `verify.json` for programs, `verify.xml` for CI, `verify.html` for people. Pure.

A purge has one form, `purge.json`, made by as_purge_json from what the hosts' purges found.

fleet     the run as one value: every host, what was found there, and what that makes of it
advice    what to do next, for each kind of trouble
plot      latencies against their budgets, as coordinates
as_json, as_junit, as_html     the three forms; the same fleet gives the same bytes
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.report.fleet import Fleet

NAMES = ("verify.json", "verify.xml", "verify.html")
PURGE = "purge.json"


def files(fleet: Fleet) -> Mapping[str, bytes]:
    """The report's files by name."""
    from deploy.report import as_html, as_json, as_junit

    return dict(zip(NAMES, (as_json.render(fleet), as_junit.render(fleet), as_html.render(fleet)), strict=True))
