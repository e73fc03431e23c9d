"""`verify.xml`: the fleet as JUnit, so that CI shows it. Pure.

One suite a host, one case a check. Each suite begins with the case `reached`, which errs for a host of which nothing is known;
its checks are then skipped, as they are on a host that was not verified, so that a case never silently vanishes from a trend.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from deploy.findings import HostFindings, Violation
from deploy.report.fleet import Fleet, violations_of
from deploy.text import printable


def render(fleet: Fleet) -> bytes:
    root = Xml.Element("testsuites", name=f"integration-health-deploy {fleet.verb}")
    for host in fleet.hosts:
        root.append(_suite(fleet, host))
    _count(root)
    Xml.indent(root)
    document: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(fleet: Fleet, host: HostFindings) -> Xml.Element:
    name = printable(host.host)
    suite = Xml.Element("testsuite", name=name, timestamp=fleet.timestamp.removesuffix("Z"), hostname=name)
    properties = Xml.SubElement(suite, "properties")
    for key in ("database", "server_version", "role"):
        Xml.SubElement(properties, "property", name=key, value=printable(getattr(host, key) or "unknown"))
    reached = _case(suite, name, "reached")
    if host.error is not None:
        error = Xml.SubElement(reached, "error", type=host.problems[0].kind, message=printable(host.headline))
        error.text = printable(host.error)
    for check in fleet.checks:
        case = _case(suite, name, check)
        if found := violations_of(host, check):
            _fail(case, found)
        elif check not in host.checks:
            Xml.SubElement(case, "skipped", message=printable(_why_not(host, check)))
    if host.not_probed is not None:
        Xml.SubElement(_case(suite, name, "probe"), "skipped", message=printable(f"not probed: {host.not_probed}"))
    if host.queries:
        Xml.SubElement(suite, "system-out").text = printable(
            "\n".join(
                f"{query.name}: p50 {query.p50_ms:.2f} ms, p95 {query.p95_ms:.2f} ms, "
                f"budget {query.budget_ms:g} ms, {query.rows} rows"
                for query in host.queries
            )
        )
    _count(suite)
    return suite


def _case(suite: Xml.Element, host: str, check: str) -> Xml.Element:
    return Xml.SubElement(suite, "testcase", classname=host, name=printable(check), time="0")


def _fail(case: Xml.Element, found: Sequence[Violation]) -> None:
    message = str(found[0]) if len(found) == 1 else f"{len(found)} violations, first: {found[0]}"
    failure = Xml.SubElement(case, "failure", type="violation", message=printable(message))
    failure.text = printable("\n".join(str(violation) for violation in found))


def _why_not(host: HostFindings, check: str) -> str:
    if check in host.not_run:
        return f"not run: {host.not_run[check]}"
    if host.status in ("not_reached", "failed"):
        return "not verified: the host " + ("was not reached" if host.status == "not_reached" else "failed")
    return f"not verified: {host.not_verified or 'not a check of this host'}"


def _count(element: Xml.Element) -> None:
    """The attributes that sum up what is below; JUnit wants them on suites and on the root."""
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))
