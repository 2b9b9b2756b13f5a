"""Tests of the pure parts: python3 -m unittest discover --start-directory scripts/compare.d"""

from __future__ import annotations

import sys
import unittest
import xml.etree.ElementTree as ElementTree
from typing import Any

sys.dont_write_bytecode = True

import checks
import figures
import plot
import report

FLOORS = {"floor", "floor with upstream"}


def sample(cost: float) -> figures.Sample:
    return {"cost": cost, "throughput": 1e6 / cost, "p50_us": 1.0, "p99_us": 9.0, "generator": 2.0, "generator_bound": 0.0}


def cell(*costs: float | None) -> figures.Cell:
    return figures.cell([sample(cost) if cost else None for cost in costs], "" if all(costs) else "it broke")


def row(cells: dict[str, figures.Cell]) -> dict[str, Any]:
    about = {"title": "full handshake", "unit": "us", "throughput": "op/s", "latency_ns": [60, 300], "cells": cells}
    return about | figures.summary(cells, FLOORS)


def result() -> dict[str, Any]:
    cells = {"nginx": cell(900, 1100), "ringfort": cell(300, 310), "stunnel": {"why": "does not <resume>"}}
    cells["floor"] = cell(250, 260)
    truth = {"refusals": {"no certificate": "certificate required (116)"}, "resumes": "", "is_peer": True}
    subjects = {
        name: {"version": "1", "note": "n", "is_floor": name in FLOORS, "truth": truth} for name in cells
    }
    about = {"date": "2000-01-01", "command": "scripts/compare", "kernel": "Linux 6", "cpu": "a CPU", "cpus": 2}
    plan = {"commit": "abc", "rounds": 2, "idle_rounds": 1, "duration_s": 5.0, "warmup_s": 1.0}
    return about | plan | {"subjects": subjects, "workloads": {"full": row(cells)}}


class Figures(unittest.TestCase):
    def test_a_cell_is_the_median_of_the_rounds_that_worked(self) -> None:
        found = cell(10, None, 30)
        self.assertEqual(found["cost"], 20)
        self.assertEqual(found["spread_percent"], 50)
        self.assertEqual(found["failed_rounds"], {"count": 1, "why": "it broke"})

    def test_a_cell_without_a_round_has_the_reason(self) -> None:
        found = cell(None, None)
        self.assertEqual(found["why"], "it broke")
        self.assertEqual(found["failed_rounds"]["count"], 2)
        self.assertNotIn("cost", found)

    def test_a_ratio_compares_only_what_ran_in_the_same_round(self) -> None:
        # The second round of one and the third of the other have nothing beside them.
        self.assertEqual(figures.ratio(cell(10, 99, None), cell(20, None, 1)), 0.5)
        self.assertIsNone(figures.ratio(cell(10), {"why": "not measured"}))

    def test_the_best_peer_is_neither_ringfort_nor_a_floor(self) -> None:
        cells = {"ringfort": cell(1), "floor": cell(2), "nginx": cell(4), "envoy": cell(3), "hitch": cell(None)}
        self.assertEqual(figures.best_peer(cells, FLOORS), "envoy")
        self.assertIsNone(figures.best_peer({"ringfort": cell(1)}, FLOORS))

    def test_an_upstream_connection_is_the_difference_of_the_floors(self) -> None:
        cells = {"ringfort": cell(300, 320), "floor": cell(250, 260), "floor with upstream": cell(280, 300)}
        found = figures.summary(cells, FLOORS)
        self.assertEqual(found["upstream_connection_us"], 35)
        self.assertAlmostEqual(found["floor_ratios"]["floor"], (300 / 250 + 320 / 260) / 2)

    def test_each_round_begins_with_another(self) -> None:
        self.assertEqual([figures.order(["a", "b", "c"], turn)[0] for turn in range(4)], ["a", "b", "c", "a"])
        self.assertEqual(figures.order([], 3), [])

    def test_bulk_counts_per_byte_and_the_rest_per_operation(self) -> None:
        cpu = {"cpu_us_per_op": 5.0, "ns_per_byte": 0.5, "bottleneck": True}
        phases = {"total": {"p50_us": 1, "p99_us": 2}}
        made = {"server_cpu": cpu, "generator_cpu": cpu, "phases": phases, "megabytes_per_s": 7, "rate_per_s": 8}
        self.assertEqual([figures.sample_of(made, True)[name] for name in ["cost", "throughput"]], [0.5, 7])
        self.assertEqual([figures.sample_of(made, False)[name] for name in ["cost", "throughput"]], [5, 8])


class Pages(unittest.TestCase):
    def test_the_table_has_figures_ratio_reasons_and_the_cheapest_first(self) -> None:
        table = report.table(result())
        names = [line.split()[0] for line in table.splitlines()[3:7]]
        self.assertEqual(names, ["floor", "ringfort", "nginx", "stunnel"])
        for text in ["305 us", "does not <resume>", "ringfort / nginx = 0.31", "cache line 60 300 ns", "HTTP mode: not yet"]:
            self.assertIn(text, table)

    def test_the_page_has_every_row_and_its_tables_are_even(self) -> None:
        page = report.page(result())
        for text in ["**305 us**", "benchmarks.svg", "scripts/compare\n", "2 rounds of 5 s", "refuses no certificate"]:
            self.assertIn(text, page)
        table = page.split("### Full handshake")[1].split("\n\n")[1].splitlines()
        self.assertEqual({line.count("|") for line in table}, {8})

    def test_a_failed_round_is_told(self) -> None:
        made = result()
        made["workloads"]["full"]["cells"]["nginx"] = cell(900, None)
        self.assertEqual(report.failures(made), ["full: nginx: 1 rounds: it broke"])
        self.assertIn("full: nginx: 1 rounds: it broke", report.table(made))
        self.assertEqual(report.failures(result()), [])

    def test_numbers_have_three_digits_that_count(self) -> None:
        shown = [report.number(value) for value in [1264.4, 16.12, 8.3, 0.6712, None]]
        self.assertEqual(shown, ["1,264", "16.1", "8.30", "0.671", "-"])

    def test_the_plot_is_xml_with_a_bar_in_proportion_for_each_figure(self) -> None:
        tree = ElementTree.fromstring(plot.svg(result()))
        bars = [each for each in tree.iter("{http://www.w3.org/2000/svg}rect") if each.get("rx")]
        lengths = [float(bar.get("width", "")) for bar in bars]
        self.assertEqual(len(lengths), 3)
        self.assertAlmostEqual(lengths[1] / lengths[2], 305 / 1000, places=2)
        self.assertIn("does not <resume>", "".join(tree.itertext()))


class OpensslOutput(unittest.TestCase):
    def test_a_resumed_connection_and_an_alert_are_told_apart(self) -> None:
        good = f"{checks.LINE}\nReused, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256\nServer Temp Key: X25519, 253 bits\n"
        seen = checks.parse(good)
        self.assertTrue(seen.echoed and seen.is_resumed)
        self.assertEqual((seen.suite, seen.group, seen.refusal), ("TLS_AES_128_GCM_SHA256", "X25519", None))
        bad = "error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:x.c:1:SSL alert number 116\n"
        self.assertEqual(checks.parse(bad).refusal, "certificate required (116)")
        self.assertEqual(checks.parse("").refusal, "closed without an alert")


if __name__ == "__main__":
    unittest.main()
