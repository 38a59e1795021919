"""Jobs of a cluster make what one process makes; here they are processes, by submitit's own local executor."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, refusal
from efface.experiment.cluster import check_cluster, claimed
from efface.experiment.run import run
from efface.plan.file import parse_plan, read_plan

pytest.importorskip("submitit")

PLAN = TINY.replace("seeds = [0, 1]", "seeds = [0]") + "[audit]\nshadows = 4\n"


def measures(out: Path) -> str:
    saved = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return json.dumps([[one["method"], one["seed"], one["measures"]] for one in saved["evaluations"]])


def slurm_is_here() -> bool:
    """Whether a SLURM takes jobs on this machine."""
    return bool(shutil.which("sbatch")) and not subprocess.run(["sinfo"], capture_output=True, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_two_jobs_make_what_one_process_does(cluster: str, tmp_path: Path) -> None:
    if cluster == "slurm" and not slurm_is_here():
        pytest.skip("no SLURM takes jobs on this machine")
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    plans = read_plan(tmp_path / "plan.toml")
    run(plans, tmp_path / "alone", threads=1)
    run(plans, tmp_path / "out", threads=1, jobs=2, cluster=cluster)
    assert measures(tmp_path / "out") == measures(tmp_path / "alone")
    left = {one.name for one in (tmp_path / "out").iterdir()}
    assert not left & {"jobs", ".locks"}


@pytest.mark.slow
def test_what_a_job_refuses_is_one_line_of_the_run(tmp_path: Path) -> None:
    text = tomllib.loads(PLAN)
    text["train"] = text.get("train", {}) | {"lr": 1e12, "optimiser": "sgd"}
    plan = parse_plan(text, "plan")
    assert "diverged" in refusal(run, {"": plan}, tmp_path / "out", threads=1, jobs=2, cluster="local")


def test_what_one_job_is_at_another_leaves_alone(tmp_path: Path) -> None:
    class Arm:
        class store:
            folder = tmp_path

    arm: Any = Arm()
    path = tmp_path / "models" / "a"
    with claimed(path, arm) as first, claimed(path, arm) as second, claimed(path.with_name("b"), arm) as other:
        assert (first, second, other) == (True, False, True)
    with claimed(tmp_path / "models" / "a", arm) as again:
        assert again


def test_a_cluster_that_is_none_is_one_line() -> None:
    cpu = torch.device("cpu")
    assert "expected slurm or local" in refusal(check_cluster, "moon", {}, 1, cpu)
    assert "--cluster slurm" in refusal(check_cluster, None, {"slurm_partition": "cpu"}, 1, cpu)
    assert "one thread each" in refusal(check_cluster, "local", {}, 2, cpu)
    assert "NAME=VALUE" in refusal(check_cluster, "local", {"partition": ""}, 1, cpu)
