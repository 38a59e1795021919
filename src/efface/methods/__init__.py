"""Every way to forget, by name: one file and one line here each.

A method is a plain function `(model, task, data, loader, *, settings) -> model`. It gets a copy of the model
to change as it likes, sees nothing but its `MethodData`, and draws every face from `loader`, which counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from efface.methods.amnesiac import amnesiac
from efface.methods.ascend_stabilise import ascend_stabilise
from efface.methods.bad_teacher import bad_teacher
from efface.methods.cf_k import cf_k
from efface.methods.ct import ct
from efface.methods.cure import cure
from efface.methods.dampening import dampening
from efface.methods.delete import delete
from efface.methods.dispersion import dispersion
from efface.methods.eu_k import eu_k
from efface.methods.finetune import finetune
from efface.methods.gli import gli
from efface.methods.group_distillation import group_distillation
from efface.methods.group_dro import group_dro
from efface.methods.jit import jit
from efface.methods.l1_sparse import l1_sparse
from efface.methods.laf import laf
from efface.methods.lookalikes import lookalikes
from efface.methods.miu import miu
from efface.methods.msg import msg
from efface.methods.neggrad import neggrad
from efface.methods.neggrad_plus import neggrad_plus
from efface.methods.out_of_fold import out_of_fold
from efface.methods.piu_fr import piu_fr
from efface.methods.rebalance import rebalance
from efface.methods.retrain import retrain
from efface.methods.rewind import rewind
from efface.methods.salun import salun
from efface.methods.scrub import scrub
from efface.methods.sfr_on import sfr_on
from efface.methods.ssd import ssd
from efface.methods.unsir import unsir
from efface.methods.unsir_benchmark import unsir_benchmark
from efface.methods.unsir_official import unsir_official
from efface.tasks import TASKS, Task


class Method(Protocol):
    """`(model, task, data, loader, *, settings with defaults) -> model`."""

    __name__: str

    def __call__(self, *args: Any, **settings: Any) -> nn.Module: ...


METHODS: dict[str, Method] = {
    "retrain": retrain,
    "finetune": finetune,
    "rewind": rewind,
    "cf_k": cf_k,
    "eu_k": eu_k,
    "l1_sparse": l1_sparse,
    "neggrad": neggrad,
    "neggrad_plus": neggrad_plus,
    "ascend_stabilise": ascend_stabilise,
    "rebalance": rebalance,
    "group_dro": group_dro,
    "group_distillation": group_distillation,
    "miu": miu,
    "amnesiac": amnesiac,
    "salun": salun,
    "sfr_on": sfr_on,
    "gli": gli,
    "msg": msg,
    "ct": ct,
    "ssd": ssd,
    "delete": delete,
    "unsir_official": unsir_official,
    "unsir_benchmark": unsir_benchmark,
    "piu_fr": piu_fr,
    "scrub": scrub,
    "bad_teacher": bad_teacher,
    "dampening": dampening,
    "jit": jit,
    "cure": cure,
    "unsir": unsir,
    "laf": laf,
    "dispersion": dispersion,
    "lookalikes": lookalikes,
    "out_of_fold": out_of_fold,
}

NEEDS_LOGITS = ("amnesiac", "salun", "gli", "unsir_official", "unsir_benchmark", "piu_fr", "delete")
"""Methods for tasks whose networks answer with logits of classes or attributes."""
NEEDS_ONE_CLASS = ("delete",)
"""Of these, those for one class of several."""
NEEDS_EMBEDDINGS = ("cure", "unsir", "laf", "dispersion")
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


def teacher_of(method: Method, settings: Mapping[str, Any]) -> str:
    """Which models a method asks to be handed as `data.teachers`: "folds", "reference", or ("") none."""
    return settings["teacher"] if method is out_of_fold and settings["teacher"] != "public" else ""


def tasks_of(method: str) -> tuple[str, ...]:
    """Names of the tasks a method works on."""
    return tuple(name for name, task in TASKS.items() if works_on(method, task))
