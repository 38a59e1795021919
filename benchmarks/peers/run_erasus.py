"""erasus' own strategy "scrub", through its own ErasusUnlearner. benchmarks/peers.py runs this."""

from __future__ import annotations

from collections.abc import Callable

from child import Given, Job, serve
from erasus import ErasusUnlearner
from torch import nn


def prepare(given: Given, job: Job) -> Callable[[], nn.Module]:
    """Its settings are its defaults."""
    retain, forget = (given.loader(rows, job, numbered=False) for rows in (given.retain, given.forget))
    unlearner = ErasusUnlearner(given.network(), strategy="scrub", device="cpu")

    def work() -> nn.Module:
        unlearned: nn.Module = unlearner.fit(forget, retain, epochs=job["epochs"]).model
        return unlearned

    return work


if __name__ == "__main__":
    serve(("erasus", "torch"), prepare)
