"""Small inline drawings: a value with its interval on a ruler that all rows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6a00")
"""Okabe and Ito's palette: told apart by colour-blind readers and in print."""


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`; values beyond it are drawn at its end with an arrow."""

    low: float
    high: float
    lines: tuple[tuple[float, str], ...] = ()
    """Values marked through all rows, with a CSS class."""

    def at(self, value: float) -> float:
        """Position in percent of the width, with room for arrows at both ends."""
        share = (value - self.low) / (self.high - self.low)
        return 3 + 94 * min(1.0, max(0.0, share))


@dataclass(frozen=True)
class IntervalMark:
    """One value with its interval, and optionally a tick for the reference's value."""

    value: float
    low: float
    high: float
    colour: str
    tick: float | None = None


def strip(marks: Sequence[IntervalMark], axis: Axis) -> str:
    """One SVG, a lane per mark, as wide as its cell."""
    lane = 16
    height = lane * len(marks)
    parts = [f'<svg class="strip" height="{height}" role="img" aria-hidden="true">']
    parts += [
        f'<line class="{style}" x1="{axis.at(value):.2f}%" x2="{axis.at(value):.2f}%" y1="0" y2="{height}"/>'
        for value, style in axis.lines
    ]
    for place, mark in enumerate(marks):
        parts.append(_lane(mark, axis, lane * (place + 0.5)))
    return "".join([*parts, "</svg>"])


def _lane(mark: IntervalMark, axis: Axis, y: float) -> str:
    parts = []
    if mark.tick is not None:
        x = axis.at(mark.tick)
        parts.append(
            f'<line x1="{x:.2f}%" x2="{x:.2f}%" y1="{y - 7}" y2="{y + 7}" stroke="{mark.colour}" '
            'stroke-width="3" opacity=".45"/>'
        )
    parts.append(
        f'<line x1="{axis.at(mark.low):.2f}%" x2="{axis.at(mark.high):.2f}%" y1="{y}" y2="{y}" '
        f'stroke="{mark.colour}" stroke-width="2"/>'
    )
    x = axis.at(mark.value)
    if mark.value > axis.high or mark.value < axis.low:
        arrow = "›" if mark.value > axis.high else "‹"
        parts.append(
            f'<text x="{x:.2f}%" y="{y + 6}" fill="{mark.colour}" text-anchor="middle" '
            f'font-size="20" font-weight="bold">{arrow}</text>'
        )
    else:
        parts.append(f'<circle cx="{x:.2f}%" cy="{y}" r="4.5" fill="{mark.colour}"/>')
    return "".join(parts)
