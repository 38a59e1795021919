"""What a method cost and how far it moved the weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Measure


def weights_moved(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[MeasureKey, Measure]:
    """`weights/...`: how much of the network is another one now. Weights have no people, hence no interval."""
    pairs = [(np.asarray(before[name], np.float64), np.asarray(after[name], np.float64)) for name in before]
    moved = sum(int((np.abs(b - a) > 0.01 * np.sqrt(np.square(b).mean())).sum()) for b, a in pairs)
    distance = np.sqrt(sum(np.square(b - a).sum() for b, a in pairs) / sum(np.square(b).sum() for b, _ in pairs))
    share = moved / sum(b.size for b, _ in pairs)
    layers = float(np.mean([np.linalg.norm(b - a) for b, a in pairs]))
    return {
        MeasureKey("weights", "moved"): Measure(
            share,
            share,
            share,
            "none",
            "share of weights that moved by more than 1% of the root mean square of their layer",
        ),
        MeasureKey("weights", "distance"): Measure(
            float(distance),
            float(distance),
            float(distance),
            "none",
            "distance to the original's weights over the length of the original's",
        ),
        MeasureKey("weights", "layers"): Measure(
            layers,
            layers,
            layers,
            "none",
            "mean distance of a layer's weights to the original's (CURE's layer-wise distance)",
        ),
    }
