"""Forgets eight requests, of those whom a recogniser memorised most and least, and saves results/memorised.json.

python docs/save_few_requests.py runs/few_requests [--jobs 1]       (about an hour on one core; needs ../shared/faces)

Makes the original and the models of folds of plans/few_requests.toml, ranks the trained people by how much closer
together their photos lie in the original than in a model that never met them, and runs an arm for each request: the
twelve who come first, and the twelve who come last, dealt into four requests of three each. Every method has the same
three learning rates at each budget, which is a share of a pass over the retained in steps of 16 retained faces. Saved
are means over requests, all and four of a kind, and differences to `out_of_fold` at the same budget, paired by request,
with Student's 95% interval over them. An interrupted run goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import Faces, together
from efface.data.split import people
from efface.data.vectors import units
from efface.experiment.arm import Arm, set_up
from efface.experiment.folds import dealt
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.experiment.store import Stage
from efface.files import make_folder, write_text
from efface.measure_key import MeasureKey
from efface.methods.out_of_fold import mean_compactness
from efface.plan.file import parse_plan
from efface.progress import Lines
from efface.report import wording
from efface.report.paired import cell_of, nearer_to_retraining, student
from efface.results import ORIGINAL, REFERENCE, SECOND_REFERENCE, Results
from efface.training.environment import deterministic_torch, environment
from saving import ROOT, machine_of, save

PLAN = ROOT / "plans" / "few_requests.toml"
REQUESTS, PEOPLE, BATCH = 4, 3, 16
BUDGETS = (0.05, 0.2, 1.0)
RATES = (4e-3, 1.6e-2, 6.4e-2)
OURS, OTHERS = "out_of_fold", ("finetune", "scrub, gamma 0", "bad_teacher", "laf")
KINDS = {"all": "memorised most or least", "most": "memorised most", "least": "memorised least"}
COLUMNS = {
    "attack AUC": MeasureKey("membership", "auc", level="photo"),
    "ToW": MeasureKey("distance", "tow"),
    "compactness of the forgotten": MeasureKey("score", "compactness", split="forget", group="all"),
    "found by held-back photos (rank 1)": MeasureKey("identification", "rank1", split="forget"),
    "impostor rate, test": MeasureKey("score", "impostor_rate", split="strangers", group="all"),
}
DIFFERENCES = [
    "ToW less a second retrained model's",
    "attack: out_of_fold nearer (below 0)",
    "ToW: out_of_fold nearer (below 0)",
]
"""Paired by request."""
LIMITS = [
    "A budget is of training steps with 16 retained faces. SCRUB, Bad Teacher and LAF let the original answer all "
    "retained faces once besides, LAF trains two autoencoders, and SCRUB steps away from the forgotten as well.",
    "One original (seed 0), three people in each request: intervals are Student's over requests, and wide.",
    "Who was memorised is told by one model of a fold each, so partly by chance.",
    "Small pictures (32 pixels) and a small recogniser (IResNet-10 of width 8), as in plans/few_people.toml.",
    "The models of folds that `out_of_fold` learns from are in no budget: they are trained once for all requests.",
]


def memorised(arm: Arm) -> dict[str, float]:
    """By the name of each trained person, the mean cosine between two of their photos in the original, less that in the
    model of the fold that they are not in."""
    seed, everyone = arm.resolved.plan.seeds[0], together(arm.splits.forget, arm.splits.retain)
    original, folds = arm.stage(ORIGINAL, seed), arm.teachers
    for stage in [original, *folds]:
        arm.store.make(stage)
    now, *without = (compactness_by_person(arm, stage, everyone) for stage in [original, *folds])
    names, groups = people(everyone)
    own_fold = dict(zip(names.tolist(), dealt(groups, len(folds), [seed, 4, 0]).tolist(), strict=True))
    return {name: now[name] - without[1 - own_fold[name]][name] for name in now}


def compactness_by_person(arm: Arm, stage: Stage, faces: Faces) -> dict[str, float]:
    """Mean cosine of two photos of each person."""
    unit = units(BatchLoader(arm.store.device, 0).outputs(arm.store.model(stage), faces))
    return {
        name: mean_compactness(unit[mine], faces.identities[mine])
        for name in np.unique(faces.identities).tolist()
        if (mine := faces.identities == name).sum() > 1
    }


@dataclass(frozen=True)
class Asked:
    """One request."""

    names: list[str]
    forgotten: int
    """Photos of these people that the original was trained on."""
    retained: int


def requests_of(plan: dict[str, Any], out: Path) -> dict[str, Asked]:
    """Each request by its name."""
    here = torch.device("cpu")
    with deterministic_torch(here, 1):
        arm = set_up("", resolve(parse_plan(plan, "plan"), "plan"), out, here, environment(here, 1), Lines())
        told = memorised(arm)
    ranked = sorted(told, key=lambda name: -told[name])
    ends = {"most": ranked[: REQUESTS * PEOPLE], "least": ranked[::-1][: REQUESTS * PEOPLE]}
    print({kind: f"{np.mean([told[name] for name in some]):.3f}" for kind, some in ends.items()}, flush=True)
    everyone = together(arm.splits.forget, arm.splits.retain)
    found = {}
    for kind, some in ends.items():
        for one in range(REQUESTS):
            forgotten = int(np.isin(everyone.identities, some[one::REQUESTS]).sum())
            found[f"{kind} {one + 1}"] = Asked(some[one::REQUESTS], forgotten, len(everyone) - forgotten)
    return found


def rows_of(asked: Asked) -> dict[str, dict[str, Any]]:
    """Every method at every budget; an epoch of those that pass over the forgotten has as many steps on the retained as
    there are batches of the forgotten."""
    rows: dict[str, dict[str, Any]] = {}
    for budget in BUDGETS:
        steps = max(1, round(budget * asked.retained / BATCH))
        epochs = max(1, round(steps / batches_of(asked.forgotten, BATCH)))
        own: Mapping[str, dict[str, Any]] = {
            OURS: {"steps": steps, "batch_forget": BATCH, "batch_retain": BATCH},
            "finetune": {"steps": steps, "batch": BATCH},
            "scrub, gamma 0": {"epochs": epochs, "max_epochs": max(1, epochs // 3), "batch": BATCH},
            "bad_teacher": {"epochs": epochs, "batch": BATCH},
            "laf": {"epochs": epochs, "batch": BATCH},
        }
        for name, settings in own.items():
            searched = {"use": name.split(",")[0], "search": {"lr": list(RATES)}}
            rows[named(name, budget)] = searched | settings
    return rows


def named(method: str, budget: float) -> str:
    """A row's name."""
    return f"{method}, {budget:g} pass{'es' * (budget != 1)}"


def table(results: Results, arms: Sequence[str]) -> list[list[str]]:
    """The rows of some requests: means, and how much nearer to retraining `out_of_fold` is at the same budget."""
    values = {(one.arm, one.method): one.measures for one in results.evaluations}

    def each(method: str, key: MeasureKey) -> list[float]:
        found = [values[arm, method][key].value for arm in arms if key in values[arm, method]]
        return [one for one in found if one is not None]

    def cells(method: str) -> list[str]:
        known = [each(method, key) for key in COLUMNS.values()]
        below = np.subtract(each(method, COLUMNS["ToW"]), each(SECOND_REFERENCE, COLUMNS["ToW"])).tolist()
        spans = ["{:.3f} [{:.3f}, {:.3f}]".format(*student(one)) for one in known]
        return [*(one.replace("-", "−") for one in spans), cell_of(below)[0]]

    rows = [[wording.row_title(name), *cells(name), "", ""] for name in (ORIGINAL, REFERENCE)]
    for budget in BUDGETS:
        ours = named(OURS, budget)
        for name in (named(one, budget) for one in (OURS, *OTHERS)):
            differences = [
                [one for arm in arms for one in nearer_to_retraining(results, arm, key, ours, name)]
                for key in (COLUMNS["attack AUC"], COLUMNS["ToW"])
            ]
            beside = ["", ""] if name == ours else [cell_of(one)[0] for one in differences]
            rows.append([name, *cells(name), *beside])
    return [*rows, [wording.row_title(SECOND_REFERENCE), *cells(SECOND_REFERENCE), "", ""]]


def main(out: Path, jobs: int) -> None:
    """Choose, forget, and save."""
    plan = tomllib.loads(PLAN.read_text(encoding="utf-8"))
    requests, plans = requests_of(plan, out), {}
    for name, one in requests.items():
        file = write_text(make_folder(out / "requests") / f"{name.replace(' ', '-')}.txt", "\n".join(one.names) + "\n")
        own = {"forget": {"file": str(file)}, "methods": rows_of(one)}
        plans[name] = parse_plan(plan | own, f"arm '{name}'")
    results = run(plans, out, device="cpu", threads=1, jobs=jobs, progress=Lines())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    save(
        "memorised",
        "Requests of whom a recogniser memorised most and least",
        commit=commit.strip(),
        machine=machine_of(results.environment),
        limits=LIMITS,
        tables=[
            {
                "name": kind,
                "caption": f"{len(arms)} requests of three people {about}; mean over requests [Student's 95% interval]",
                "command": ["python docs/save_few_requests.py runs/few_requests", "python docs/print_results.py"],
                "columns": ["model", *COLUMNS, *DIFFERENCES],
                "rows": table(results, arms),
            }
            for kind, about in KINDS.items()
            for arms in [[name for name in requests if kind in ("all", name.split()[0])]]
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    main(asked.out, asked.jobs)
