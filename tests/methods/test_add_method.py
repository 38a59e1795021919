"""A method is one function and one line in the table: everything else finds it by itself."""

from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import TINY
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.methods import METHODS
from efface.plan.file import read_plan
from efface.reference import listing
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.testing import check_method
from efface.training.train import training_step


def blunt(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    strength: Positive = 0.1,
    epochs: Count = 1,
) -> nn.Module:
    """Shake every weight, then fine-tune. Needs: retained faces with labels."""
    for parameter in model.parameters():
        parameter.data += strength * parameter.data.std() * torch.randn_like(parameter)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(epochs):
        for faces in loader(data.retain):
            training_step(optimiser, task.loss(model, faces).mean())
    return model


def test_it_appears_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "blunt", blunt)
    check_method(blunt)
    assert "strength = 0.1" in listing("methods")
    (tmp_path / "plan.toml").write_text(TINY + "[methods.blunt]\nstrength = 0.2\n")
    plans = read_plan(tmp_path / "plan.toml")
    assert resolve(plans[""], "plan").stages[-1].settings == {"strength": 0.2, "epochs": 1}
    results = run(plans, tmp_path / "out")
    assert {row.seed for row in results.evaluations if row.method == "blunt"} == {0, 1}
    assert "<b>blunt</b>" in (tmp_path / "out" / "report.html").read_text()
