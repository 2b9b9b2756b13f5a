"""What the gateway was to reach, beside what one comparison found. Pure.

The absolute bounds come from floors that were measured on one machine; the ratios hold on any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from figures import OURS, RELAY, Cell

FLOOR = "floor"
# ringfort over the best peer, for each workload that has such a bound.
RATIO_MAX = {"full": 0.80, "request": 0.65, "down": 0.75, "up": 0.75}
RATIO_MAX |= {"http-request": 0.70, "http-down-1m": 0.80, "http-up-1m": 0.80}
# By workload: how often the floor of the same run it may cost, and the plan's floor.
HANDSHAKES = {"full": (1.15, 161.0), "new": (1.10, 268.0), "tickets": (1.15, 105.0), "cache": (1.15, 105.0)}
REQUEST_US = 1.2 * 8.3
# What a request of HTTP may cost over the exchange of its bytes, as the plan has it and in the same run.
HTTP_FACTOR, EXCHANGE_US = 1.4, 8.3
BULK_NS = 1.25 * 0.39
# The generator may cost as much as the gateway that it measures.
GENERATOR_MAX = 1.0


@dataclass(frozen=True)
class Budget:
    """One bound and the figure that it bounds; no unit is a ratio."""

    what: str
    found: float
    bound: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """A bound that is just reached is met."""
        return self.found <= self.bound


def judge(result: dict[str, Any]) -> list[Budget]:
    """All budgets whose figures are in the result, in the order of its workloads."""
    found: list[Budget] = []
    for key, row in result["workloads"].items():
        ours: Cell = row["cells"].get(OURS, {})
        if "cost" in ours:
            found += [*_absolute(key, row, ours["cost"]), *_relative(key, row, ours)]
    return found


def _absolute(key: str, row: dict[str, Any], cost: float) -> list[Budget]:
    title = row["title"]
    if key == "request":
        return [Budget(f"{title}: 1.2 x 8.3 us", cost, REQUEST_US, "us")]
    if key in ("down", "up"):
        return [Budget(f"{title}: 1.25 x 0.39 ns/B", cost, BULK_NS, "ns/B")]
    if key == "http-request":
        own = row.get("floor_ratios", {}).get(RELAY)
        of_run = [Budget(f"{title}: {OURS} / {RELAY}", own, HTTP_FACTOR)] if own is not None else []
        plan = f"{title}: {HTTP_FACTOR} x {EXCHANGE_US} us"
        return [*of_run, Budget(plan, cost, HTTP_FACTOR * EXCHANGE_US, "us")]
    upstream, floor = row.get("upstream_connection_us"), row["cells"].get(FLOOR, {}).get("cost")
    if key not in HANDSHAKES or upstream is None or floor is None:
        return []
    factor, plan_us = HANDSHAKES[key]
    return [
        Budget(f"{title}: {factor:.2f} x the floor of this run + one upstream connection", cost,
               factor * floor + upstream, "us"),
        Budget(f"{title}: {factor:.2f} x {plan_us:.0f} us + one upstream connection", cost,
               factor * plan_us + upstream, "us"),
    ]  # fmt: skip


def _relative(key: str, row: dict[str, Any], ours: Cell) -> list[Budget]:
    found = []
    if key in RATIO_MAX and row["ratio"] is not None:
        found.append(Budget(f"{row['title']}: {OURS} / {row['best_peer']}", row["ratio"], RATIO_MAX[key]))
    if key in ("full", "request", "http-request"):
        quotient = ours["generator"] / ours["cost"]
        found.append(Budget(f"{row['title']}: load generator / {OURS}", quotient, GENERATOR_MAX))
    return found
