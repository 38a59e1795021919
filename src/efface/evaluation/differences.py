"""A measure of one model less the same of another, with the interval of the difference."""

from __future__ import annotations

import math
from collections.abc import Mapping

from efface.measure_key import MeasureKey
from efface.results import MeasureRecord


def difference(
    key: MeasureKey, ours: Mapping[MeasureKey, MeasureRecord], reference: Mapping[MeasureKey, MeasureRecord]
) -> MeasureRecord | None:
    """A measure less the reference's: on the same people in every draw where that was measured, else with the two
    intervals joined as if they were independent, which is wider. None where either lacks it."""
    if key.family == "attack" and not key.against:
        paired = ours.get(MeasureKey("attack", key.metric, against="reference", level=key.level))
        if paired:
            return paired
    mine, theirs = ours.get(key), reference.get(key)
    if mine is None or theirs is None:
        return None
    if mine.span is None or theirs.span is None:
        return theirs if mine.span else mine
    (value, low, high), (other, other_low, other_high) = mine.span, theirs.span
    gap = value - other
    return MeasureRecord(
        value=gap,
        low=gap - math.hypot(value - low, other_high - other),
        high=gap + math.hypot(high - value, other - other_low),
        aim="as retrained",
        about=f"{mine.about}, minus the retrained reference's",
    )
