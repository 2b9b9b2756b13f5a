"""The pure parts of `scripts/compare`; `scripts/test` runs this."""

from __future__ import annotations

import copy
import json
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import budgets
import checks
import checks_http
import figures
import main as compare
import measure
import peers
import plot
import processes
import report
import workloads

HERE = Path(__file__).resolve().parent


def sample(cost: float) -> dict[str, float]:
    """What a run of this cost gives."""
    return {
        "cost": cost, "throughput": 1000.0, "p50_us": 10.0, "p99_us": 20.0,
        "generator": cost / 2, "generator_bound": 0.0,
    }  # fmt: skip


def row(cells: dict[str, Any], title: str = "full handshake, X25519") -> dict[str, Any]:
    """One workload's part of a result."""
    floors = {"floor", "floor with upstream"}
    about = {"title": title, "unit": "us", "throughput": "op/s", "latency_ns": [60, 400]}
    return about | {"cells": cells} | figures.summary(cells, floors)


def result() -> dict[str, Any]:
    """A result of two workloads with a floor, and a peer that cannot do one of them."""
    costs = {"ringfort": [300, 310, 400], "envoy": [400, 410, 420], "nginx": [900, 950, 990]}
    costs |= {"floor": [250, 252, 254], "floor with upstream": [280, 284, 281]}
    cells = {name: figures.cell([sample(cost) for cost in each], "") for name, each in costs.items()}
    resumed = {"ringfort": {"why": "does not resume yet: it gives no ticket"}, "envoy": cells["envoy"]}
    return {
        "date": "2026-01-01", "command": "scripts/compare --write-docs", "kernel": "Linux 6", "cpu": "A <CPU>",
        "cpus": 2, "commit": "abc", "rounds": 3, "idle_rounds": 1, "warmup_s": 1.0, "duration_s": 5.0,
        "subjects": {
            name: {"version": "1 & 2", "note": "made of", "is_floor": name.startswith("floor")} for name in costs
        },
        "not_measured": {},
        "workloads": {"full": row(cells), "tickets": row(resumed, "resumed handshake")},
    }  # fmt: skip


class Figures(unittest.TestCase):
    """Medians, spreads, ratios."""

    def test_the_spread_is_half_the_range_in_percent_of_the_median(self) -> None:
        self.assertAlmostEqual(figures.spread_percent([90.0, 100.0, 130.0]), 20.0)
        self.assertEqual(figures.spread_percent([0.0, 0.0]), 0.0)

    def test_a_ratio_compares_within_rounds_only(self) -> None:
        slow, fast = [sample(300), sample(600)], [sample(100), sample(200)]
        ratio = figures.ratio(figures.cell(slow, ""), figures.cell(fast, ""))
        self.assertEqual(ratio, 3.0)

    def test_a_round_that_failed_counts_in_no_median(self) -> None:
        cell = figures.cell([sample(10), None, sample(30)], "reset")
        self.assertEqual(cell["cost"], 20)
        self.assertEqual(cell["failed_rounds"], {"count": 1, "why": "reset"})

    def test_a_cell_without_a_good_round_has_the_reason_and_counts_as_failed(self) -> None:
        cell = figures.cell([None, None], "it broke")
        self.assertEqual(cell, {"why": "it broke", "failed_rounds": {"count": 2, "why": "it broke"}})

    def test_bulk_counts_per_byte_and_the_rest_per_operation(self) -> None:
        cpu = {"cpu_us_per_op": 5.0, "ns_per_byte": 0.5, "bottleneck": True}
        made = {"server_cpu": cpu, "generator_cpu": cpu, "phases": {"total": {"p50_us": 1, "p99_us": 2}}}
        made |= {"megabytes_per_s": 7, "rate_per_s": 8}
        self.assertEqual([figures.sample_of(made, True)[name] for name in ("cost", "throughput")], [0.5, 7])
        self.assertEqual([figures.sample_of(made, False)[name] for name in ("cost", "throughput")], [5, 8])

    def test_no_floor_and_not_ringfort_is_the_best_peer(self) -> None:
        found = result()["workloads"]["full"]
        self.assertEqual(found["best_peer"], "envoy")
        self.assertAlmostEqual(found["ratio"], 310 / 410)
        self.assertEqual(found["upstream_connection_us"], 30)

    def test_each_round_begins_with_another_one(self) -> None:
        orders = [figures.order(["a", "b", "c"], turn) for turn in range(4)]
        self.assertEqual([order[0] for order in orders], ["a", "b", "c", "a"])
        self.assertTrue(all(sorted(order) == ["a", "b", "c"] for order in orders))


class Budgets(unittest.TestCase):
    """Bounds, met and missed."""

    def test_the_floor_of_the_run_and_an_upstream_connection_bound_the_handshake(self) -> None:
        found = {budget.what.partition(": ")[2]: budget for budget in budgets.judge(result())}
        own = found["1.15 x the floor of this run + one upstream connection"]
        self.assertAlmostEqual(own.bound, 1.15 * 252 + 30)
        self.assertTrue(own.is_met)
        self.assertFalse(found["1.15 x 161 us + one upstream connection"].is_met)
        self.assertTrue(found["ringfort / envoy"].is_met)
        self.assertAlmostEqual(found["load generator / ringfort"].found, 0.5)

    def test_a_new_chain_may_cost_less_above_its_floor_than_one_that_was_seen(self) -> None:
        found = result()
        found["workloads"] = {"new": found["workloads"]["full"]}
        own = next(each for each in budgets.judge(found) if "floor of this run" in each.what)
        self.assertAlmostEqual(own.bound, 1.1 * 252 + 30)

    def test_what_was_not_measured_is_not_judged(self) -> None:
        without = copy.deepcopy(result())
        without["workloads"]["full"]["cells"]["ringfort"] = {"why": "failed"}
        self.assertEqual(budgets.judge(without), [])


class Checks(unittest.TestCase):
    """What `openssl s_client` prints."""

    def test_a_relayed_line_is_told_from_a_refusal(self) -> None:
        text = "Server Temp Key: X25519, 253 bits\nNew, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256\n"
        good = checks.parse(f"{text}{checks.LINE}\nPost-Handshake New Session Ticket arrived:\n")
        self.assertEqual((good.suite, good.group, good.tickets), ("TLS_AES_128_GCM_SHA256", "X25519", 1))
        self.assertTrue(good.echoed and not good.is_resumed and good.refusal is None)
        alert = "error:0A00045C:SSL routines:f:tlsv13 alert certificate required:x.c:1605:SSL alert number 116\n"
        bad = checks.parse(text + alert)
        self.assertFalse(bad.echoed)
        self.assertEqual(bad.refusal, "certificate required (116)")

    def test_a_resumed_session_is_seen(self) -> None:
        self.assertTrue(checks.parse("Reused, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256\n").is_resumed)


class Judge(unittest.TestCase):
    """Reports of the load generator."""

    def judged(self, status: int, **changes: Any) -> dict[str, Any]:
        """What becomes of a good report with these changes."""
        good: dict[str, Any] = {
            "ok": True, "failures": [], "errors": {}, "operations": 5, "server_cpu": {"cpu_us_per_op": 1.0},
            "tls": {"suite": workloads.SUITE, "group": "X25519"},
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "report.json")
            path.write_text(json.dumps(good | changes))
            return measure.judge(path, status, Path(folder, "log"), workloads.ALL[0])

    def test_a_run_that_did_what_was_asked_counts(self) -> None:
        self.assertEqual(self.judged(0)["operations"], 5)

    def test_a_run_that_did_not_is_a_failure_with_its_own_words(self) -> None:
        bad: list[tuple[int, dict[str, Any], str]] = [
            (1, {"ok": False, "failures": ["resumed share 0.2, asked 1"]}, "resumed share"),
            (1, {"errors": {"reset": 3}}, "reset: 3"),
            (0, {"operations": 0}, "no operation"),
            (0, {"server_cpu": None}, "no CPU of the server"),
            (0, {"tls": {"suite": "TLS_AES_256_GCM_SHA384", "group": "X25519"}}, "negotiated"),
        ]
        for status, changes, words in bad:
            with self.subTest(words), self.assertRaisesRegex(processes.Failure, words):
                self.judged(status, **changes)


    def test_a_run_over_http_counts_only_where_its_requests_were_made(self) -> None:
        get = workloads.BY_KEY["h2-10"]
        good = {
            "protocol": "HTTP/2", "tls": {"alpn": "h2"}, "operations": 10, "requests": 10, "bytes_sent": 0,
            "bytes_received": 1024, "connections": 1, "streams": 2,
        }  # fmt: skip
        measure.judge_http(good, get)
        for change, words in [
            ({"protocol": "HTTP/1.1"}, "HTTP/1.1 .h2. was spoken"),
            ({"tls": {"alpn": None}}, "HTTP/2 .None. was spoken"),
            ({"requests": 9}, "of 9 answers"),
            ({"bytes_received": 1023}, "1023 bytes were carried, of 8 times 128"),
        ]:
            with self.subTest(words), self.assertRaisesRegex(processes.Failure, words):
                measure.judge_http(good | change, get)


class Http(unittest.TestCase):
    """What is compared in HTTP, and what curl shows of it."""

    def test_a_relay_is_the_floor_of_requests_only_and_no_floor_of_handshakes(self) -> None:
        takes_part = {
            key: [peer.name for peer in peers.ALL if workloads.BY_KEY[key].asks(peer.name, peer.floors)]
            for key in ["full", "request", "http-request", "h2-100"]
        }
        self.assertIn("floor with upstream", takes_part["full"])
        self.assertNotIn(figures.RELAY, takes_part["full"])
        self.assertNotIn("floor", takes_part["request"])
        self.assertEqual(takes_part["http-request"], ["ringfort", "envoy", "nginx", "haproxy", figures.RELAY])
        self.assertEqual(takes_part["h2-100"], ["ringfort", "envoy", "nginx", "haproxy"])

    def test_everybody_who_is_asked_for_http_has_a_configuration_for_it(self) -> None:
        with_one = {peer.name for peer in peers.ALL if peer.http_template}
        self.assertEqual(with_one, set(workloads.HTTP_PEERS))
        for workload in workloads.ALL:
            self.assertEqual(bool(workload.http), workload.origin == "http", workload.key)

    def test_a_version_that_is_not_spoken_keeps_nobody_from_being_measured_in_the_other(self) -> None:
        truth = checks_http.HttpTruth({"HTTP/2": "HTTP/2: x answers 0 requests of 8"}, ["host"], 1)
        subject = {"http": vars(truth)}
        self.assertEqual(compare._http_reason(subject, "HTTP/1.1"), "")
        self.assertIn("0 requests of 8", compare._http_reason(subject, "HTTP/2"))
        self.assertEqual(compare._http_reason({}, "HTTP/2"), "is no HTTP proxy")
        line = checks_http.line("x", truth)
        self.assertIn("0 requests of 8; HTTP/1.1; 1 connections", line)

    def test_workloads_are_chosen_by_key_and_by_group_in_their_order(self) -> None:
        self.assertEqual(workloads.chosen([]), workloads.ALL)
        keys = [each.key for each in workloads.chosen(["h2-1", "full", "h2-1"])]
        self.assertEqual(keys, ["full", "h2-1"])
        self.assertEqual(workloads.chosen(["tcp", "http"]), workloads.ALL)
        self.assertTrue(all(each.http for each in workloads.chosen(["http"])))

    def test_what_curl_writes_is_read_and_no_answer_is_none(self) -> None:
        found = checks_http.parse("200 128 2\n000 0 0\n404 9 1.1\n")
        self.assertEqual(found, [checks_http.Answer(200, 128, "2"), checks_http.Answer(404, 9, "1.1")])

    def test_an_answer_of_another_status_length_or_version_is_a_failure(self) -> None:
        good = checks_http.Answer(200, 128, "2")
        checks_http.judge_answers("x", [good, good], [good, good])
        for wrong in [
            [good],
            [good, checks_http.Answer(200, 127, "2")],
            [good, checks_http.Answer(502, 128, "2")],
            [good, checks_http.Answer(200, 128, "1.1")],
        ]:
            with self.subTest(wrong), self.assertRaises(processes.Failure):
                checks_http.judge_answers("x", wrong, [good, good])

    def test_the_origin_counts_requests_connections_and_bodies_in_both_framings(self) -> None:
        origin = checks_http.HttpOrigin()
        self.addCleanup(origin.close)
        connection = HTTPConnection("127.0.0.1", origin.port, timeout=10)
        self.addCleanup(connection.close)
        for body, chunked in [(b"12345", False), (iter([b"12", b"345"]), True)]:
            connection.request("POST", "/bytes/7", body, {"X-Check": "kept"}, encode_chunked=chunked)
            self.assertEqual(connection.getresponse().read(), bytes(7))
        self.assertEqual((origin.requests, origin.connections, origin.body_bytes), (2, 1, 10))
        self.assertEqual(origin.fields["x-check"], "kept")

    def test_a_request_is_bounded_by_the_relay_of_its_run_and_by_the_plan(self) -> None:
        costs = {"ringfort": [12.0, 12.0], "nginx": [20.0, 20.0], figures.RELAY: [10.0, 10.0]}
        cells = {name: figures.cell([sample(cost) for cost in each], "") for name, each in costs.items()}
        made = row(cells, "GET") | figures.summary(cells, {figures.RELAY})
        found = {each.what: each for each in budgets.judge({"workloads": {"http-request": made}})}
        self.assertAlmostEqual(found[f"GET: ringfort / {figures.RELAY}"].found, 1.2)
        self.assertTrue(found[f"GET: ringfort / {figures.RELAY}"].is_met)
        self.assertFalse(found["GET: 1.4 x 8.3 us"].is_met)
        self.assertEqual(found["GET: ringfort / nginx"].bound, 0.7)
        self.assertTrue(found["GET: ringfort / nginx"].is_met)

    def test_the_time_of_a_plan_is_told_by_rounds_and_peers(self) -> None:
        plan = measure.Plan(3, 1, warmup_s=0.3, duration_s=1.0)
        chosen = [peer for peer in peers.ALL if peer.http_template]
        workload = workloads.BY_KEY["http-request"]
        self.assertAlmostEqual(plan.seconds(workload, chosen), 3 * 4 * (1.3 + measure.START_S))


class Output(unittest.TestCase):
    """Table, page, plot."""

    def test_the_page_has_every_figure_reason_and_budget(self) -> None:
        page = report.page(result())
        for expected in ["**310 us**", "does not resume yet", "ringfort / envoy = 0.76", "| missed |"]:
            self.assertIn(expected, page)
        self.assertNotIn("{", page.replace("```", ""))

    def test_the_table_of_a_terminal_has_the_budgets(self) -> None:
        self.assertIn("missed", report.table(result()))

    def test_the_cheapest_is_first_and_a_reason_last(self) -> None:
        lines = report.lines(result()["workloads"]["tickets"])
        self.assertEqual([line[0] for line in lines], ["envoy", "ringfort"])

    def test_the_tables_of_the_page_are_even(self) -> None:
        table = report.page(result()).split("### Resumed handshake")[1].split("\n\n")[1].splitlines()
        self.assertEqual({line.count("|") for line in table}, {8})

    def test_a_failed_round_is_told(self) -> None:
        made = result()
        made["workloads"]["full"]["cells"]["nginx"] = figures.cell([sample(900), None], "it broke")
        self.assertEqual(report.failures(made), ["full: nginx: 1 rounds: it broke"])
        self.assertEqual(report.failures(result()), [])

    def test_the_plot_is_well_formed_and_has_a_bar_for_each_figure(self) -> None:
        text = plot.svg(result())
        root = ElementTree.fromstring(text)
        bars = [each for each in root.iter() if each.tag.endswith("rect") and each.get("rx")]
        self.assertEqual(len(bars), 6)
        self.assertIn("A &lt;CPU&gt;", text)

    def test_no_value_of_a_template_is_left_out(self) -> None:
        named = {"PORT", "ORIGIN_PORT", "CERTS", "RUN", "CPU", "GROUPS", "HITCH_USER"}
        named |= {"RESUMPTION", "VERDICTS", "LISTS", "ALPN", "NGINX_CACHE"}
        tickets = {"NOT_TICKETS", "ON_OFF", "TICKETS", "HAPROXY_TICKETS", "YES_NO", "STUNNEL_TICKETS"}
        for template in [*HERE.glob("*.conf"), *HERE.glob("*.cfg"), *HERE.glob("*.yaml"), *HERE.glob("*.toml")]:
            found = set(re.findall(r"@([A-Z_]+)@", template.read_text()))
            self.assertLessEqual(found, named | tickets, template.name)


if __name__ == "__main__":
    unittest.main()
