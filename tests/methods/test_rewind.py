"""Rewinding: the original's own training is kept on the way, gone back to, and gone on from without the forgotten."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, refusal
from efface.data.batches import BatchLoader
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.methods.rewind import rewind
from efface.models.load import read_weights
from efface.plan.file import parse_plan, read_plan
from efface.tasks import TASKS
from efface.testing import tiny_problem

CPU = torch.device("cpu")


def test_it_goes_back_to_the_epoch_that_is_said_and_else_to_the_first() -> None:
    splits, original = tiny_problem(TASKS["eyes"])
    states = {epoch: {k: v + epoch for k, v in original.state_dict().items()} for epoch in (4, 2)}
    data = replace(splits.data, checkpoints=states)
    for asked, expected in ((4, 4), (None, 2)):
        model = rewind(
            copy.deepcopy(original), TASKS["eyes"], data, BatchLoader(CPU, 0), epoch=asked, lr=1e-12, epochs=1
        )
        weights = dict(model.named_parameters())
        assert all(torch.allclose(weights[name], states[expected][name], atol=1e-4) for name in weights)
    assert "train.keep, 2, 4" in refusal(rewind, original, TASKS["eyes"], data, BatchLoader(CPU, 0), epoch=3)
    assert "train.keep = [epochs]" in refusal(rewind, original, TASKS["eyes"], splits.data, BatchLoader(CPU, 0))


def test_a_run_keeps_the_original_alone_and_rewinds_it(tmp_path: Path) -> None:
    text = TINY.replace("seeds = [0, 1]", "seeds = [0]").replace("epochs = 3", "epochs = 3, keep = [1, 3]")
    (tmp_path / "plan.toml").write_text(text + "[methods.rewind]\nlr = 1e-12\nepochs = 1\n")
    out = tmp_path / "out"
    results = run(read_plan(tmp_path / "plan.toml"), out, threads=1)
    kept = {path.name.split("-epoch")[1]: path for path in (out / "checkpoints").glob("*.safetensors")}
    assert sorted(kept) == ["1.safetensors", "3.safetensors"], "of the original, not of the reference"
    weights = {
        name: read_weights(next((out / "models").glob(f"{name}-seed0*.safetensors")))[0]
        for name in ("original", "rewind")
    }
    first, last = (read_weights(kept[name])[0] for name in sorted(kept))
    assert all(torch.equal(last[name], value) for name, value in weights["original"].items())
    trained = [name for name in first if name.endswith("weight")]
    assert all(torch.allclose(first[name], weights["rewind"][name], atol=1e-5) for name in trained)
    assert not all(torch.allclose(last[name], first[name], atol=1e-3) for name in trained)
    before = {path: path.stat().st_mtime_ns for path in (out / "models").iterdir()}
    kept["1.safetensors"].unlink()
    run(read_plan(tmp_path / "plan.toml"), out, threads=1)
    assert results.plan[""]["train"]["keep"] == (1, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished is finished"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "set train.keep = [epochs], up to 3"),
        ({"train": {"keep": [4]}}, "no epoch 4 in a training of 3"),
        ({"train": {"keep": [2]}, "model": {"weights": "x.safetensors"}}, "an original given as a file"),
        ({"train": {"keep": [2]}, "methods": {"rewind": {"epoch": 3}}}, "epoch 3 is none of train.keep = [2]"),
        ({"train": {"keep": [2]}, "methods": {"rewind": {"search": {"epoch": [2, 1]}}}}, "epoch 1 is none of"),
        (
            {
                "train": {"keep": [2]},
                "methods": {"later": {"use": "finetune", "after": "rewind"}},
                "audit": {"unlearn": ["later"]},
            },
            "shadows keep no checkpoints for 'rewind'",
        ),
    ],
)
def test_checkpoints_that_will_not_be_there_are_asked_for_in_vain(changes: dict[str, Any], words: str) -> None:
    import tomllib

    from efface.plan.file import overlaid

    raw = tomllib.loads(TINY.split("[methods.finetune]")[0]) | {"methods": {"rewind": {}}}
    assert words in refusal(resolve, parse_plan(overlaid(raw, changes), "plan"), "plan")
