"""The plot: one panel for each workload, one bar for each server. SVG by hand; pure."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from figures import OURS
from report import number

WIDTH, MARGIN, COLUMNS, GAP = 960, 24, 2, 32
PANEL = (WIDTH - 2 * MARGIN - GAP) / COLUMNS
LABEL, VALUE = 140, 84
BAR, STEP, TITLE = 16, 24, 40
HEAD = 68
OURS_COLOUR, PEER_COLOUR, FLOOR_COLOUR = "#c2410c", "#64748b", "#cbd5e1"
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1e293b}"
    ".head{font-size:18px;font-weight:600}.title{font-size:14px;font-weight:600}"
    ".small{font-size:12px;fill:#475569}.ours{font-weight:600}"
)


def svg(result: dict[str, Any]) -> str:
    """The whole picture."""
    floors = {name for name, about in result["subjects"].items() if about["is_floor"]}
    rows = list(result["workloads"].values())
    top, parts = float(HEAD), []
    for start in range(0, len(rows), COLUMNS):
        pair = rows[start : start + COLUMNS]
        for column, row in enumerate(pair):
            parts.append(_panel(row, floors, MARGIN + column * (PANEL + GAP), top))
        top += TITLE + STEP * max(len(row["cells"]) for row in pair) + 12
    about = f"{result['date']}, {result['cpu']}, {result['kernel']}, one worker; {result['commit']}"
    head = [
        _text(MARGIN, 30, "CPU and memory of the server: shorter is better", "head"),
        _text(MARGIN, 50, about, "small"),
    ]
    size = f'width="{WIDTH}" height="{top:.0f}" viewBox="0 0 {WIDTH} {top:.0f}"'
    title = "<title>CPU and memory of ringfort and its peers</title>"
    body = "\n".join([*head, *parts])
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return f"{opening}\n{title}<style>{STYLE}</style>{background}\n{body}\n</svg>\n"


def _panel(row: dict[str, Any], floors: set[str], left: float, top: float) -> str:
    costs = [cell["cost"] for cell in row["cells"].values() if "cost" in cell]
    longest = max(costs, default=0.0) or 1.0
    parts = [_text(left, top + 18, f"{row['title']} ({row['unit']})", "title")]
    ordered = sorted(row["cells"].items(), key=lambda item: item[1].get("cost", float("inf")))
    for index, (name, cell) in enumerate(ordered):
        line = top + TITLE + index * STEP
        parts.append(_text(left, line, name, "ours" if name == OURS else ""))
        if "cost" not in cell:
            parts.append(_text(left + LABEL, line, _short(cell["why"]), "small"))
            continue
        colour = OURS_COLOUR if name == OURS else FLOOR_COLOUR if name in floors else PEER_COLOUR
        length = max(cell["cost"], 0.0) / longest * (PANEL - LABEL - VALUE)
        parts.append(
            f'<rect x="{left + LABEL:.1f}" y="{line - BAR + 4:.1f}" width="{length:.1f}"'
            f' height="{BAR}" rx="2" fill="{colour}"/>'
        )
        beside = f"{number(cell['cost'])} ±{cell['spread_percent']:.0f} %"
        parts.append(_text(left + LABEL + length + 6, line, beside, "ours" if name == OURS else "small"))
    return "\n".join(parts)


def _text(x: float, y: float, text: str, kind: str) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attribute}>{escape(text)}</text>'


REASON_CHARACTERS = 46


def _short(why: str) -> str:
    return why if len(why) <= REASON_CHARACTERS else f"{why[: REASON_CHARACTERS - 1].rstrip()}…"
