"""The three forms of a report against the programs that read them: a JSON Schema validator, a JUnit parser, an HTML parser."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from typing import Any

import jsonschema
import junitparser
import pytest
from support import fleets

from deploy.findings import HostFindings
from deploy.report import files as report_files
from deploy.report.advice import advise
from deploy.report.fleet import Fleet
from deploy.report.plot import plot
from deploy.text import printable

ALL = {
    "one healthy host": fleets.healthy(),
    "200 hosts": fleets.two_hundred(),
    "hostile names": fleets.hostile(),
    "a dry run": fleets.fleet(
        replace(fleets.host("@postgres/a"), checks=(), not_verified="1 migration(s) pending"), dry=True, verb="apply"
    ),
    "no host answered": fleets.fleet(fleets.unreached("@postgres/a"), fleets.unreached("@postgres/b")),
    "no host": fleets.fleet(),
    "a revert": replace(
        fleets.fleet(HostFindings("@postgres/a", completed=True), fleets.unreached("@postgres/b"), verb="revert"),
        checks=(),
        verifies=False,
    ),
}

SCHEMA = (files("deploy.report") / "verify.schema.json").read_text(encoding="utf-8")


def html(fleet: Fleet) -> str:
    return report_files.render(fleet)["verify.html"].decode()


def document(fleet: Fleet) -> Any:
    return json.loads(report_files.render(fleet)["verify.json"])


def junit(fleet: Fleet) -> list[junitparser.TestSuite]:
    parsed = junitparser.JUnitXml.fromfile(io.BytesIO(report_files.render(fleet)["verify.xml"]))
    return list(parsed)


class Page(HTMLParser):
    """What a browser would see: start tags with attributes, and the text outside of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text.append(data)


@pytest.mark.parametrize("fleet", ALL.values(), ids=ALL.keys())
def test_the_json_is_what_its_schema_says(fleet: Fleet) -> None:
    schema = json.loads(SCHEMA)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document(fleet), schema, cls=jsonschema.Draft202012Validator)


def test_the_schema_is_made_from_the_findings() -> None:
    """When it differs, write it: `python -c "from deploy.report import files; print(files.schema(), end='')"`."""
    assert report_files.schema() == SCHEMA


@pytest.mark.parametrize("emptied", [{"checks": []}, {"status": "failed"}, {"status": "violations"}])
def test_the_schema_refuses_a_status_for_which_there_is_no_reason(emptied: dict[str, Any]) -> None:
    claimed = document(fleets.healthy())
    claimed["hosts"][0].update(emptied)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(claimed, json.loads(SCHEMA))


def test_a_host_is_ok_when_a_verb_that_does_not_verify_did_all_of_its_work() -> None:
    """Its report is as that of a verification: the host's outcome, and no check."""
    fleet = ALL["a revert"]
    assert [host["status"] for host in document(fleet)["hosts"]] == ["ok", "not_reached"]
    assert [[case.name for case in suite] for suite in junit(fleet)] == [["reached"], ["reached"]]
    assert "1 of 2 hosts needs attention" in html(fleet)


def test_the_json_says_what_was_found_in_the_inventorys_order() -> None:
    got = document(fleets.two_hundred())
    assert got["schema_version"] == 1
    assert got["when"] == "2026-01-11T03:08:35Z"
    assert got["summary"] == {"hosts": 200, "not_reached": 1, "failed": 0, "violations": 2, "not_verified": 0, "ok": 197}
    assert [host["host"] for host in got["hosts"]] == [f"@postgres/db-{number:03}.eu" for number in range(1, 201)]
    assert got["hosts"][56]["violations"] == [
        {
            "check": "columns",
            "object": "integration_health.status",
            "expected": "character varying(20) NOT NULL",
            "actual": "text NOT NULL",
            "about": "definition",
        },
        {
            "check": "indexes",
            "object": "idx_integration_events_occurred_at",
            "expected": "integration_events USING btree (occurred_at DESC)",
            "actual": "missing",
            "about": "",
        },
    ]
    assert got["hosts"][112]["status"] == "not_reached"
    want = {"kind": "connection", "text": fleets.REFUSED.text, "next": fleets.REFUSED.next}
    assert got["hosts"][112]["problems"] == [want]
    assert [query["within_budget"] for query in got["hosts"][87]["queries"]] == [True, False, False, False]


def test_junit_has_one_case_for_each_host_and_check() -> None:
    suites = junit(fleets.two_hundred())
    assert len(suites) == 200
    want = ["reached", *fleets.CHECKS, "latency"]
    assert all([case.name for case in suite if case.name != "probe"] == want for suite in suites)
    assert all(case.classname == suite.name for suite in suites for case in suite)


def test_junit_fails_what_was_violated_and_errs_for_a_host_that_was_not_reached() -> None:
    suites = junit(fleets.two_hundred())
    drifted, unreached = list(suites[56]), list(suites[112])
    failures = {case.name: case.result[0] for case in drifted if case.result}
    assert failures.keys() == {"columns", "indexes"}
    assert isinstance(failures["columns"], junitparser.Failure)
    want = "integration_health.status: expected character varying(20) NOT NULL, found text NOT NULL"
    assert (failures["columns"].message, failures["columns"].text) == (want, want)
    assert isinstance(unreached[0].result[0], junitparser.Error)
    assert (unreached[0].result[0].type, unreached[0].result[0].message) == ("connection", str(fleets.REFUSED))
    assert all(isinstance(case.result[0], junitparser.Skipped) for case in unreached[1:])
    assert sum(suite.failures for suite in suites) == 3
    assert sum(suite.errors for suite in suites) == 1


def test_a_dry_run_passes_no_case_of_a_host_that_it_did_not_verify() -> None:
    reached, *checks = junit(ALL["a dry run"])[0]
    assert not reached.result
    assert [case.result[0].message for case in checks] == ["not verified: 1 migration(s) pending"] * 7
    assert document(ALL["a dry run"])["summary"]["ok"] == 0
    page = html(ALL["a dry run"])
    assert "1 of 1 host not verified" in page
    assert "✓</span>" not in page.split("<main>")[1]


def test_hostile_names_are_text_in_all_three_forms() -> None:
    fleet = fleets.hostile()
    names = [host["host"] for host in document(fleet)["hosts"]]
    assert names == [*fleets.HOSTILE, "\x1b[31m"]
    shown = [printable(name) for name in names]
    suites = junit(fleet)
    assert [suite.name for suite in suites] == shown
    page = Page(html(fleet))
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "img", "form", "base"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    text = "".join(page.text)
    assert all(name in text for name in shown)
    assert "49" not in re.findall(r"<bdi[^>]*>([^<]*)</bdi>", html(fleet))


def test_each_link_of_the_page_leads_to_one_anchor_and_each_broken_cell_to_its_violations() -> None:
    page = Page(html(fleets.two_hundred()))
    anchors = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert len(anchors) == len(set(anchors))
    assert {link.removeprefix("#") for link in links} <= set(anchors)
    cells = {
        attributes["aria-label"]: attributes["href"] for tag, attributes in page.tags if tag == "a" and "aria-label" in attributes
    }
    link = cells["1 violation of columns on @postgres/db-057.eu"]
    after = html(fleets.two_hundred()).split(f'id="{str(link).removeprefix("#")}"')[1]
    assert "integration_health.status" in after.split("</tbody>")[0]


def test_the_page_asks_for_no_network_and_says_so_to_the_browser() -> None:
    text = html(fleets.two_hundred())
    page = Page(text)
    loaded = [
        value for tag, attributes in page.tags for name, value in attributes.items() if name in ("src", "href", "srcset", "data")
    ]
    assert {str(value) for value in loaded if not str(value).startswith("#")} == {"data:,"}
    assert "url(" not in text and "@import" not in text
    policies = [attributes["content"] for _, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_tables_have_captions_and_headers_and_headings_do_not_skip_a_level() -> None:
    page = Page(html(fleets.two_hundred()))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") >= 5
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("aria-label" in attributes for tag, attributes in page.tags if attributes.get("role") == "img")


def test_the_broken_hosts_of_200_come_first_and_the_healthy_ones_are_folded_away() -> None:
    text = html(fleets.two_hundred())
    assert "<h1" in text and "3 of 200 hosts need attention" in text
    first, folded = text.split('<details class="rest">')
    rows = re.findall(r'<th scope="row".*?<bdi class="name">(.*?)</bdi>', first)
    assert rows == ["@postgres/db-113.eu", "@postgres/db-057.eu", "@postgres/db-088.eu"]
    assert "<summary>197 hosts OK</summary>" in folded


@pytest.mark.parametrize("fleet", ALL.values(), ids=ALL.keys())
def test_the_same_findings_give_the_same_bytes(fleet: Fleet) -> None:
    assert report_files.render(fleet) == report_files.render(replace(fleet))


def test_the_header_names_the_versions_and_a_table_counts_them_by_role_oldest_first() -> None:
    old = replace(fleets.host("@postgres/old"), server_version="9.6.24")
    text = html(
        fleets.fleet(fleets.host("@postgres/a"), fleets.host("@postgres/b", role="standby"), old, fleets.unreached("@postgres/c"))
    )
    assert "· PostgreSQL 9.6.24, 15.18</p>" in text.split("</header>")[0]
    table = text.split('<table class="servers">')[1]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td class="number">(.*?)</td>', table)
    debian = "15.18 (Debian 15.18-0+deb12u1)"
    assert rows == [("9.6.24", "primary", "1"), (debian, "primary", "1"), (debian, "standby", "1"), ("unknown", "unknown", "1")]


def commands(*hosts: HostFindings) -> dict[str, str | None]:
    return {item.title: item.command for item in advise(fleets.fleet(*hosts))}


def test_each_kind_of_trouble_has_its_next_command() -> None:
    pyinfra = "pyinfra --limit @postgres/x inventories/prod.py"
    assert commands(fleets.host("@postgres/x")) == {}
    assert commands(fleets.unreached("@postgres/x")) == {"Not reached": f"{pyinfra} exec -- 'SELECT 1'"}
    assert commands(fleets.host("@postgres/x", *fleets.MISSING)) == {"Not deployed yet": f"{pyinfra} --dry deploy.apply"}
    assert commands(fleets.host("@postgres/x", fleets.STATUS)) == {"Differs from the contract": f"{pyinfra} deploy.verify"}
    standby = fleets.host("@postgres/x", fleets.STATUS, role="standby")
    assert commands(standby) == {"A standby differs from the contract": f"{pyinfra} deploy.verify"}
    slow = fleets.host("@postgres/x", *fleets.SLOW, queries=fleets.timings(60))
    assert commands(slow) == {"Over budget": f"{pyinfra} deploy.verify probe_rows=10000"}
    assert commands(replace(fleets.unreached("@postgres/x"), server_version="15.18")) == {"Failed": f"{pyinfra} deploy.verify"}


def test_a_command_to_paste_quotes_a_hostile_name_and_names_no_more_than_five_hosts() -> None:
    hostile = fleets.unreached("a'; rm -rf / #")
    assert commands(hostile)["Not reached"] == """pyinfra --limit 'a'"'"'; rm -rf / #' inventories/prod.py exec -- 'SELECT 1'"""
    many = [fleets.unreached(f"@postgres/{number}") for number in range(6)]
    assert commands(*many)["Not reached"] == "pyinfra inventories/prod.py exec -- 'SELECT 1'"


def test_the_plot_puts_what_is_over_budget_right_of_the_budget() -> None:
    for fleet in (fleets.healthy(), fleets.two_hundred()):
        for strip in plot(fleet).strips:
            assert all((mark.x > strip.budget_x) == mark.over for mark in strip.p95)
            assert all(0 <= mark.x <= 100 and -1 <= mark.lane <= 1 for mark in (*strip.p50, *strip.p95))
    assert [strip.over for strip in plot(fleets.two_hundred()).strips] == [0, 1, 1, 1]
    assert [tick.label for tick in plot(fleets.healthy()).ticks] == ["0.1", "1", "10", "100", "1000 ms"]


def test_the_plot_survives_zero_and_equal_latencies() -> None:
    nothing = tuple(replace(query, p50_ms=0.0, p95_ms=0.0) for query in fleets.timings())
    strips = plot(fleets.fleet(fleets.host("@postgres/a", queries=nothing), fleets.host("@postgres/b", queries=nothing))).strips
    assert {mark.x for mark in strips[0].p95} == {3.0}
    assert len({mark.lane for mark in strips[0].p95}) == 2
