"""Embeddings as directions: people are told apart by angles, not by lengths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array


def units(vectors: Array) -> NDArray[np.float32]:
    """(n, d) of length one, however long they were; a vector of length zero stays."""
    wide = np.asarray(vectors, np.float32)
    wide = wide / np.maximum(np.abs(wide).max(1, keepdims=True, initial=0), 1e-30)  # squares of long ones overflow
    unit: NDArray[np.float32] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit
