"""Every way to forget, by name: one file and one line here each.

A method is a plain function `(model, task, data, loader, *, settings) -> model`. It gets a copy of the model
to change as it likes, sees nothing but its `MethodData`, and draws every face from `loader`, which counts them.
"""

from __future__ import annotations

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
from efface.methods.piu_fr import piu_fr
from efface.methods.rebalance import rebalance
from efface.methods.retrain import retrain
from efface.methods.salun import salun
from efface.methods.scrub import scrub
from efface.methods.sfr_on import sfr_on
from efface.methods.ssd import ssd
from efface.methods.unsir import unsir
from efface.methods.unsir_benchmark import unsir_benchmark
from efface.methods.unsir_official import unsir_official
from efface.tasks import TASKS


class Method(Protocol):
    """`(model, task, data, loader, *, settings with defaults) -> model`."""

    __name__: str

    def __call__(self, *args: Any, **settings: Any) -> nn.Module: ...


METHODS: dict[str, Method] = {
    "retrain": retrain,
    "finetune": finetune,
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
}

CLASSED, EMBEDDED = ("classes", "attributes"), ("recognition",)
ONLY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("amnesiac", "salun", "gli", "unsir_official", "unsir_benchmark", "piu_fr"), CLASSED),
    **dict.fromkeys(("cure", "unsir", "laf", "dispersion"), EMBEDDED),
    "delete": ("classes",),
}
"""Methods that work on some tasks only: they need classes that are not people, or embeddings."""


def tasks_of(method: str) -> tuple[str, ...]:
    """Names of the tasks a method works on."""
    return ONLY.get(method, tuple(TASKS))
