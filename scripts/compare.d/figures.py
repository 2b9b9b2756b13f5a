"""The arithmetic: medians over rounds, spreads, the best peer, ratios. Pure.

A sample is what one run gave, by name; a cell is what the rounds of one peer come to.
"""

from __future__ import annotations

from statistics import median
from typing import Any

Sample = dict[str, float]
Cell = dict[str, Any]

OURS = "ringfort"
# ringfort in TCP mode before the origin of HTTP: a floor.
RELAY = "relay of bytes"


def spread_percent(values: list[float]) -> float:
    """Half the distance between the lowest and the highest, in percent of the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle * 100 if middle else 0.0


def cell(rounds: list[Sample | None], why: str) -> Cell:
    """Medians over the rounds that worked; where none did, the reason."""
    good = [sample for sample in rounds if sample is not None]
    failed = {"failed_rounds": {"count": len(rounds) - len(good), "why": why}} if why else {}
    if not good:
        return {"why": why or "not measured"} | failed
    result: Cell = {name: median(sample[name] for sample in good) for name in good[0]}
    result["spread_percent"] = spread_percent([sample["cost"] for sample in good])
    result["rounds"] = rounds
    return result | failed


def ratio(above: Cell, below: Cell) -> float | None:
    """The median of the quotients of each round: both of a round ran in the same regime."""
    pairs = zip(above.get("rounds", []), below.get("rounds", []))
    quotients = [one["cost"] / other["cost"] for one, other in pairs if one and other and other["cost"]]
    return median(quotients) if quotients else None


def difference(above: Cell, below: Cell) -> float | None:
    """The median of the differences of each round."""
    pairs = zip(above.get("rounds", []), below.get("rounds", []))
    differences = [one["cost"] - other["cost"] for one, other in pairs if one and other]
    return median(differences) if differences else None


def best_peer(cells: dict[str, Cell], floors: set[str]) -> str | None:
    """The name with the lowest cost that is neither ringfort nor a floor."""
    costs = {name: each["cost"] for name, each in cells.items() if "cost" in each}
    peers = {name: cost for name, cost in costs.items() if name != OURS and name not in floors}
    return min(peers, key=peers.__getitem__) if peers else None


def summary(cells: dict[str, Cell], floors: set[str]) -> dict[str, Any]:
    """What the row comes to: the best peer, and how ringfort stands to it and to the floors."""
    ours, best = cells.get(OURS, {}), best_peer(cells, floors)
    of_floors = {name: ratio(ours, cells[name]) for name in sorted(floors & cells.keys())}
    result: dict[str, Any] = {"best_peer": best, "ratio": ratio(ours, cells[best]) if best else None}
    if of_floors:
        result["floor_ratios"] = of_floors
        low, high = cells.get("floor", {}), cells.get("floor with upstream", {})
        result["upstream_connection_us"] = difference(high, low)
    return result


def order(names: list[str], turn: int) -> list[str]:
    """Each round begins with another one, so that none always comes after the same."""
    shift = turn % len(names) if names else 0
    return names[shift:] + names[:shift]


def sample_of(report: dict[str, Any], is_bulk: bool) -> Sample:
    """The figures of one report of the load generator."""
    server, generator, total = report["server_cpu"], report["generator_cpu"], report["phases"]["total"]
    cost = "ns_per_byte" if is_bulk else "cpu_us_per_op"
    return {
        "cost": float(server[cost]),
        "throughput": float(report["megabytes_per_s" if is_bulk else "rate_per_s"]),
        "p50_us": float(total["p50_us"]),
        "p99_us": float(total["p99_us"]),
        "generator": float(generator[cost]),
        "generator_bound": float(bool(generator["bottleneck"])),
    }
