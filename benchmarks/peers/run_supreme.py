"""supreme-unlearning's own scrub(), as its own pipeline calls it on one CPU. benchmarks/peers.py runs this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from child import Given, Job, serve
from supreme.methods.unlearning_methods.scrub import scrub
from supreme.utils.fabric.fabric_setup import initialize_fabric
from torch import nn

FABRIC, *_ = initialize_fabric(
    {"accelerator": "cpu", "distributed_strategy": "auto", "num_gpus": 1, "precision": "32-true", "callbacks": []}
)
"""Without DistributedDataParallel, its default, which would only cost it time in a single process."""


def prepare(given: Given, job: Job) -> Callable[[], nn.Module]:
    """Its settings are its defaults, but for what both sides are asked for: all epochs leave the forgotten."""
    retain, forget = (given.loader(rows, job, numbered=True) for rows in (given.retain, given.forget))
    settings: dict[str, Any] = {
        "sgda_epochs": job["epochs"],
        "msteps": job["epochs"],
        "sgda_learning_rate": 1e-4,
        "gamma": job["gamma"],
        "distributed_strategy_name": "auto",
    }
    loaders = FABRIC.setup_dataloaders(retain, forget)
    model = given.network()

    def work() -> nn.Module:
        unlearned: nn.Module = scrub(FABRIC, 1, False, model, *loaders, **settings)
        return unlearned

    return work


if __name__ == "__main__":
    serve(("supreme-unlearning", "lightning", "torch"), prepare)
