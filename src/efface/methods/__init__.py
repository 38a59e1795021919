"""Every way to forget, by name: one file and one line here each.

A method is a plain function `(model, task, material, feed, *, settings) -> model`. It gets a copy of the model
to change as it likes, sees nothing but its `Material`, and draws every face from `feed`, which counts them.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from efface.methods.ascend_stabilise import ascend_stabilise
from efface.methods.bad_teacher import bad_teacher
from efface.methods.cure import cure
from efface.methods.dampening import dampening
from efface.methods.dispersion import dispersion
from efface.methods.finetune import finetune
from efface.methods.jit import jit
from efface.methods.laf import laf
from efface.methods.neggrad import neggrad
from efface.methods.neggrad_plus import neggrad_plus
from efface.methods.rebalance import rebalance
from efface.methods.retrain import retrain
from efface.methods.scrub import scrub
from efface.methods.unsir import unsir


class Method(Protocol):
    """`(model, task, material, feed, *, settings with defaults) -> model`."""

    __name__: str

    def __call__(self, *args: Any, **settings: Any) -> nn.Module: ...


METHODS: dict[str, Method] = {
    "retrain": retrain,
    "finetune": finetune,
    "neggrad": neggrad,
    "neggrad_plus": neggrad_plus,
    "ascend_stabilise": ascend_stabilise,
    "rebalance": rebalance,
    "cure": cure,
    "scrub": scrub,
    "bad_teacher": bad_teacher,
    "unsir": unsir,
    "dampening": dampening,
    "jit": jit,
    "laf": laf,
    "dispersion": dispersion,
}
