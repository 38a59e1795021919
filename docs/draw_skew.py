"""Draws docs/images/skew.svg: disparity by the share of the forgotten who are of a group, from results/groups.json.

python docs/draw_skew.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
NUMBERS = re.compile(r"(\S+) \[(\S+), (\S+)\]")
REFERENCE = "reference (plain retraining)"
FAMILIES = {
    "retraining": {REFERENCE: "plain", "retrained, reweighted": "reweighted"},
    "finetune": {"finetune": "plain", "finetune, reweighted": "reweighted"},
    "miu": {"miu": "plain", "miu, reweighted": "reweighted"},
    "neggrad_plus": {
        "neggrad_plus": "plain",
        "neggrad_plus, reweighted": "reweighted",
        "neggrad_plus, then rebalanced (searched)": "then rebalance",
        "neggrad_plus, then group_dro": "then group_dro",
        "neggrad_plus, then group_distillation": "then group_distillation",
    },
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")


def main() -> None:
    results = json.loads((ROOT / "results" / "groups.json").read_text(encoding="utf-8"))
    table = next(one for one in results["tables"] if one["name"] == "skew ages")
    skews = [int(column.removesuffix("%")) for column in table["columns"][1:4]]
    spans = {row[0]: [span(cell) for cell in row[1:4]] for row in table["rows"] if "[" in row[1]}
    with rc_context({"svg.hashsalt": "efface", "font.size": 11}):
        figure = Figure(figsize=(6, 7.6), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        for panel, (family, rows) in zip(panels.flat, FAMILIES.items(), strict=True):
            panel.axhline(0, color="#888888", linewidth=1, linestyle=":")
            panel.plot(skews, [value for value, _, _ in spans[REFERENCE]], color="#cccccc", linewidth=6, zorder=0)
            for place, ((row, label), colour) in enumerate(zip(rows.items(), COLOURS, strict=False)):
                shifted = [skew + 2.5 * (place - (len(rows) - 1) / 2) for skew in skews]
                values, lows, highs = zip(*spans[row], strict=True)
                panel.plot(shifted, values, "o-", color=colour, label=label, markersize=4)
                panel.vlines(shifted, lows, highs, color=colour, alpha=0.6)
            panel.set_title(family, fontsize=12)
            panel.set_xticks(skews, [f"{skew}%" for skew in skews])
            panel.legend(fontsize=9, frameon=False, loc="lower right" if len(rows) > 2 else "upper left")
            panel.spines[["top", "right"]].set_visible(False)
        figure.supxlabel("share of the forgotten who are of the group", fontsize=11)
        figure.supylabel("disparity, percentage points", fontsize=11)
        figure.savefig(ROOT / "docs" / "images" / "skew.svg", facecolor="white", metadata={"Date": None})


def span(cell: str) -> tuple[float, float, float]:
    """Value and interval of a cell as printed."""
    found = NUMBERS.fullmatch(cell.replace("−", "-"))
    assert found, cell
    value, low, high = map(float, found.groups())
    return value, low, high


if __name__ == "__main__":
    main()
