"""How are 16 small models trained fastest: one after the other, by processes, stacked, or on a frozen backbone?

python benchmarks/many_models.py [--task eyes|classes] [--people 1500] [--epochs 6] [--device auto] [--threads 2]

Each way trains the 16 shadow models of the same plan on the same synthetic faces, in an empty folder, start-up of
processes included; the ways take turns. The last column is what they are for: the AUC of LiRA on the original by these
16 shadows. The table goes into results/shadows.json. "Frozen
backbone" trains anew the last stage and layer of the retrained reference on features that are computed once: another
network, trained in another way, for who cannot afford the plan's own.
"""

import argparse
import copy
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from reporting import machine, spread, write_results
from torch import nn

from efface.audit.attacks import attack_model
from efface.data.batches import BatchLoader, derive
from efface.evaluation.evaluate import score_faces
from efface.evaluation.predict import predict
from efface.experiment.arm import Arm, set_up
from efface.experiment.knowledge import knowledge
from efface.experiment.resolve import resolve
from efface.experiment.workers import Order, make_shadows
from efface.measures.attacks import auc, membership_scores_of
from efface.measures.bootstrap import Bootstrap
from efface.models.reset import reinitialise
from efface.models.resnet import ResNet18
from efface.plan.file import parse_plan
from efface.plan.tables import Plan
from efface.progress import Progress
from efface.results import ORIGINAL, REFERENCE, Environment
from efface.training.environment import cpu_time, deterministic_torch, device_named, environment
from efface.training.train import Optimiser, make_optimizer, rate_at, training_step

Way = Literal["in turn", "in turn, 1 thread", "processes", "stacked", "frozen backbone"]
WAYS: tuple[Way, ...] = ("in turn", "in turn, 1 thread", "processes", "stacked", "frozen backbone")
TITLES: dict[Way, str] = {
    "in turn": "in turn",
    "in turn, 1 thread": "in turn, 1 thread",
    "processes": "processes, 1 thread each (the default on a CPU)",
    "stacked": "stacked (the default on a GPU)",
    "frozen backbone": "frozen backbone, last stage and layer trained",
}
LIMITS = [
    "Wall seconds, of a machine that did nothing else, and CPU seconds of all processes; smallest and largest of the "
    "repetitions in brackets.",
    "One seed, so the AUCs of the ways differ by chance too; ways that train the same models differ in rounding alone.",
]
NETWORKS: dict[str, dict[str, Any]] = {
    "eyes": {"model": {"name": "eyenet", "widths": [16, 32, 64], "hidden": 128}, "train": {"lr": 1e-3}},
    "classes": {
        "model": {"name": "resnet18", "width": 8, "stem": "small"},
        "train": {"lr": 0.05, "batch": 64, "optimiser": "sgd"},
    },
}


def plan_of(task: str, people: int, epochs: int, way: Way) -> Plan:
    """A plan of 16 shadows."""
    settings = NETWORKS[task]
    how = way if way in ("processes", "stacked") else "in turn"
    return parse_plan(
        {
            "task": task,
            "goal": "influence removed",
            "seeds": [0],
            "forget": {"share": 0.4},
            "data": {
                "name": "synthetic",
                "people": people,
                "photos_per_person": 1,
                "size": [32, 32],
                **({"label": "age"} if task == "classes" else {}),
            },
            "split": {"strangers": 0.25, "test": 0.2},
            "model": settings["model"],
            "train": {**settings["train"], "epochs": epochs},
            "audit": {"shadows": 16, "train": how},
        },
        "benchmark",
    )


def frozen(arm: Arm, reference: nn.Module) -> None:
    """Put shadows in the store whose last stage and layer alone were trained, on the reference's features."""
    assert isinstance(reference, ResNet18)
    trunk = copy.deepcopy(reference)
    trunk.layer4, trunk.avgpool, trunk.fc = nn.Sequential(), nn.Identity(), nn.Identity()  # type: ignore[assignment]
    channels = reference.fc.in_features // 2
    kept: dict[str, np.ndarray[Any, Any]] = {}
    for shadow in arm.shadows[:2]:  # between them they have everybody
        outputs = BatchLoader(arm.store.device, 0).outputs(trunk, shadow.faces)
        kept |= dict(zip(shadow.faces.keys.tolist(), np.asarray(outputs), strict=True))
    for shadow in arm.shadows:
        torch.manual_seed(derive(shadow.stage.seed, shadow.stage.name))
        model = copy.deepcopy(reference)
        model.fc.reset_parameters()
        rest = nn.Sequential(reinitialise(model.layer4), model.avgpool, nn.Flatten(), model.fc)
        features = torch.from_numpy(np.stack([kept[key] for key in shadow.faces.keys.tolist()]))
        side = round((features.shape[1] / channels) ** 0.5)
        taught(
            rest,
            features.view(-1, channels, side, side).to(arm.store.device),
            torch.from_numpy(shadow.faces.targets).to(arm.store.device),
            **arm.resolved.train_settings,
        )
        arm.store.put(shadow.stage, model, {"seconds": 0.0, "faces": 0, "peak_memory_mib": 0.0})


def taught(
    rest: nn.Module,
    features: torch.Tensor,
    targets: torch.Tensor,
    *,
    epochs: int,
    lr: float,
    batch: int,
    optimiser: Optimiser,
    weight_decay: float,
    **_: Any,
) -> None:
    """Train a rest of a network on features by the plan's recipe."""
    optimizer = make_optimizer(optimiser, rest, lr, weight_decay)
    rest.train()
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(epoch, epochs, lr)
        for rows in torch.randperm(len(features)).split(batch):  # type: ignore[no-untyped-call]
            if len(rows) > 1:
                training_step(optimizer, nn.functional.cross_entropy(rest(features[rows]), targets[rows]))


class Took(NamedTuple):
    """What 16 shadows took, and the AUC of LiRA with them."""

    seconds: float
    cpu_seconds: float
    lira: float


def measured(way: Way, plan: Plan, device: torch.device, here: Environment, threads: int) -> Took:
    """Train 16 shadows in one way."""
    one = here.model_copy(update={"threads": 1}) if way == "in turn, 1 thread" else here
    with tempfile.TemporaryDirectory() as folder, deterministic_torch(device, one.threads):
        out = Path(folder)
        arm = set_up("", resolve(plan, "benchmark"), out, device, one, Progress())
        for stage in arm.models:
            arm.store.make(stage)
        start = (time.perf_counter(), cpu_time())
        if way == "frozen backbone":
            frozen(arm, arm.store.model(arm.stage(REFERENCE, 0)))
        else:
            make_shadows([arm], Order({"": plan}, out, device, one), Progress())
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds, cpu_seconds = time.perf_counter() - start[0], cpu_time() - start[1]
        scored = {
            stage: score_faces(predict(arm.store.model(stage), arm.splits, (), device), arm.resolved.task)
            for stage in arm.models
        }
        original = scored[arm.stage(ORIGINAL, 0)]
        membership_score = attack_model(
            original, knowledge(arm, scored)(0, arm.other_seed(0)), arm.resolved.task
        ).attacks["lira"][1]
        membership_scores = membership_scores_of(
            original.predictions, membership_score, Bootstrap(original.predictions, 1), people=False
        )
        assert membership_scores is not None
        return Took(seconds, cpu_seconds, float(membership_scores.over_draws(auc)[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(NETWORKS), default="classes")
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    device = device_named(given.device)
    here = environment(device, given.threads)
    ways = [way for way in WAYS if way != "frozen backbone" or given.task == "classes"]
    took: dict[Way, list[Took]] = {way: [] for way in ways}
    for _ in range(given.repeats):
        for way in ways:
            plan = plan_of(given.task, given.people, given.epochs, way)
            took[way].append(measured(way, plan, device, here, given.threads))
            print(way, *took[way][-1], flush=True)
    first = took["in turn"]
    rows = [
        [
            TITLES[way],
            spread([one.seconds for one in runs], ".1f"),
            spread([turn.seconds / one.seconds for turn, one in zip(first, runs, strict=True)], ".2f"),
            spread([turn.cpu_seconds / one.cpu_seconds for turn, one in zip(first, runs, strict=True)], ".2f"),
            f"{np.mean([one.lira for one in runs]):.3f}",
        ]
        for way, runs in took.items()
    ]
    asked = f"--task {given.task} --people {given.people} --epochs {given.epochs} --repeats {given.repeats}"
    write_results(
        "shadows",
        "How many small models are trained fastest",
        machine=machine(f"{device}, {given.threads} threads"),
        limits=LIMITS,
        tables=[
            {
                "name": "ways",
                "caption": f"Sixteen shadow models of a small {NETWORKS[given.task]['model']['name']}, by how they are "
                f"trained: {given.people:,} generated people, {given.epochs} epochs; above 1: faster than in turn",
                "command": [f"python benchmarks/many_models.py {asked}", "python docs/print_results.py"],
                "columns": ["training", "wall seconds", "times sooner", "times less CPU", "LiRA AUC with them"],
                "rows": rows,
            }
        ],
    )


if __name__ == "__main__":
    main()
