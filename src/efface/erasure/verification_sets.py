"""Verification sets before and after: two photos each, one person or two."""

from __future__ import annotations

import numpy as np
import torch

from efface.erasure.contract import ContractedNetwork
from efface.erasure.contract_check import PhotoPairs, embedded, refuse_one_kind, similarities
from efface.erasure.measuring import paired
from efface.erasure.record import Measurement
from efface.measures.verification import of_set


def verification_of(
    pairs: PhotoPairs | None, before: ContractedNetwork, after: ContractedNetwork, device: torch.device
) -> list[Measurement]:
    """What both models make of a set, where there is one."""
    if pairs is None:
        return []
    images, kept = pairs.read(before.contract, np.unique([pairs.first, pairs.second]))
    found = []
    for model in (before, after):
        alike = similarities(embedded(model.network, model.contract, images, device), kept, pairs)
        known = np.isfinite(alike)
        refuse_one_kind(pairs.same[known], f"{int(known.sum())} of {len(known)} pairs have two photos that can be used")
        nothing = np.full(int(known.sum()), np.nan)
        found.append(of_set("pairs", alike[known], pairs.same[known], pairs.fold[known], nothing, nothing > 0, 0))
    return [paired(f"verification {key.metric.replace('_', ' ')}", found[0][key], found[1][key]) for key in found[0]]
