"""Does a quality score mean anything? Errors against the share of pairs left out, as a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from efface.data.faces import Array
from efface.files import replacing, write_csv
from efface.measures.verification import discard_area


def draw_discard(curves: Mapping[str, tuple[Array, Array]], out: Path) -> Path:
    """Write `out/discard.csv` and `out/discard.png`, and return the latter. curves: name to (shares of pairs left out,
    share of same-person pairs then refused at 1% false accepts)."""
    import pandas as pd
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    areas = {name: discard_area(*curve) for name, curve in curves.items()}
    best_first = sorted(curves, key=lambda name: areas[name])
    shares = next(iter(curves.values()))[0]
    write_csv(out / "discard.csv", pd.DataFrame({"left_out": shares} | {name: curves[name][1] for name in best_first}))
    figure = Figure(figsize=(8.4, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.axhline(100 * curves[best_first[0]][1][0], color="#bbbbbb", linewidth=1, linestyle=":")
    for place, name in enumerate(best_first):
        axis.plot(
            100 * shares,
            100 * curves[name][1],
            color=f"C{place % 10}",
            linewidth=2.2 if place < 3 else 1.1,
            linestyle="-" if place < 10 else "--",
            label=f"{name} ({areas[name]:.2f})",
        )
    axis.set_xlabel("pairs left out, those with the worst photo first, %")
    axis.set_ylabel("same-person pairs refused, %")
    axis.set_title("The more a curve falls, the better its score foretells errors", fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(title="measure (area, 1: says nothing)", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    with replacing(out / "discard.png") as part:
        figure.savefig(part, format="png", dpi=120)
    return out / "discard.png"
