"""Every way to forget, by name: one file each, called as its function is, and one line here.

A method is a plain function `(model, task, data, loader, *, settings) -> model`. It gets a copy of the model
to change as it likes, sees nothing but its `MethodData`, and draws every face from `loader`, which counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from efface.functions import Functions
from efface.tasks import TASKS, Task

if TYPE_CHECKING:
    from torch import nn


class Method(Protocol):
    """`(model, task, data, loader, *, settings with defaults) -> model`."""

    __name__: str

    def __call__(self, *args: Any, **settings: Any) -> nn.Module: ...


METHODS: Functions[Method] = Functions(
    {
        name: f"efface.methods.{name}"
        for name in (
            "retrain",
            "finetune",
            "rewind",
            "cf_k",
            "eu_k",
            "l1_sparse",
            "neggrad",
            "neggrad_plus",
            "ascend_stabilise",
            "rebalance",
            "group_dro",
            "group_distillation",
            "miu",
            "amnesiac",
            "salun",
            "sfr_on",
            "gli",
            "msg",
            "ct",
            "ssd",
            "delete",
            "unsir_official",
            "unsir_benchmark",
            "piu_fr",
            "scrub",
            "bad_teacher",
            "dampening",
            "jit",
            "cure",
            "unsir",
            "laf",
            "dispersion",
            "lookalikes",
            "out_of_fold",
            "leace",
        )
    }
)

NEEDS_LOGITS = ("amnesiac", "salun", "gli", "unsir_official", "unsir_benchmark", "piu_fr", "delete")
"""Methods for tasks whose networks answer with logits of classes or attributes."""
NEEDS_ONE_CLASS = ("delete",)
"""Of these, those for one class of several."""
NEEDS_EMBEDDINGS = ("cure", "unsir", "laf", "dispersion", "leace")
"""Methods for tasks whose networks answer with embeddings."""
NEEDS_CHECKPOINTS = ("rewind",)
"""Methods that go back to states of the original's own training."""


def works_on(method: str, task: Task) -> bool:
    """Whether a method can be used on a task; one of your own may be tried on any."""
    if method in NEEDS_ONE_CLASS and task.labels != "one":
        return False
    if method in NEEDS_LOGITS:
        return task.outputs == "logits"
    return task.outputs == "embeddings" or method not in NEEDS_EMBEDDINGS


def teacher_of(method: str, settings: Mapping[str, Any]) -> str:
    """Which models a method asks to be handed as `data.teachers`: "folds", "reference", or ("") none."""
    return settings["teacher"] if method == "out_of_fold" and settings["teacher"] != "public" else ""


def tasks_of(method: str) -> tuple[str, ...]:
    """Names of the tasks a method works on."""
    return tuple(name for name, task in TASKS.items() if works_on(method, task))
