"""Serves requests of 1, 3, 10 and 30 people on one recogniser, and saves what came of them as results/requests.json.

python docs/save_requests.py runs/requests      (about two hours on one core; LFW's aligned photos lie in ../shared)

The recogniser is trained here on 230 people of LFW and written as somebody else would have: nested names, once with its
head beside and once without. Each request has all photos of its people, those that were trained on and those that were
not, 60 people who stay, and 70 public people. Beside each stands a recogniser retrained without its people, which no
request has. What was made already is read.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import stats

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Images
from efface.erasure.criteria import FMR, RANK1
from efface.erasure.forget import forget
from efface.erasure.judge import RecognitionJudge
from efface.erasure.measuring import STRANGERS
from efface.erasure.opened import open_model
from efface.erasure.photos import read_request_photos
from efface.erasure.request import ErasureRequest, Goal, erasure_request
from efface.erasure.result import ErasureResult
from efface.evaluation.predict import outputs
from efface.models.recogniser import iresnet
from efface.tasks.recognition import RECOGNITION
from efface.training.environment import deterministic_torch
from efface.training.train import train
from saving import ROOT, machine_of, save

LFW = ROOT.parent / "shared" / "faces" / "lfw" / "aligned"
SIDE, TRAINED, RETAINED, PUBLIC = 32, 230, 60, 70
SIZES, REQUESTS = (1, 3, 10, 30), 4
AFTERWARDS = {3: range(4, 8), 10: range(4, 8)}
"""By size the numbers of requests that nobody looked at while the method was built."""
WAYS: list[tuple[Goal, bool]] = [("influence removed", True), ("influence removed", False), ("unrecognisable", True)]
"""Goals, and whether the file has a head."""
LIMITS = [
    "Strengths, rates and parts of the way were chosen while four of these requests were looked at (the first two of "
    "three people and of ten), all on this recogniser. Rows “drawn afterwards” are of requests nobody had seen.",
    "One small recogniser (IResNet-10 of width 8, 32 pixels) that knows its 230 people by heart. How it is with models "
    "of millions of faces was not measured.",
    "Four requests in each row; the interval of the share that was served is Clopper and Pearson's.",
    "“Served” is the verdict “forgotten”: every criterion met, those about held-back photos by photos that no method "
    "was handed, and false matches and false non-matches at the fixed threshold within the original's interval. All "
    "others end with “do not ship”.",
    "Rates before and after are means over the requests of a row, whatever their verdict. “By a retrained model”: a "
    "recogniser trained as the first was, without the people of a request; one seed.",
    "Where `leace` alone is the best candidate, layers before the last are as they were.",
    "Times are of one thread on a machine that did other work.",
]


def people_of_lfw() -> list[list[Path]]:
    """Photos of everybody with six or more, at most twelve each, in an order that does not change."""
    folders = sorted(one for one in LFW.iterdir() if one.is_dir())
    photos = [sorted(one.glob("*.jpg"))[:12] for one in folders]
    several = [one for one in photos if len(one) >= 6]
    return [several[place] for place in np.random.default_rng(1).permutation(len(several))]


def trained_photos(photos: Sequence[Path]) -> Sequence[Path]:
    """Those of a person that the recogniser is trained on: but for a third, two at least."""
    return photos[: len(photos) - max(2, len(photos) // 3)]


def write_recogniser(people: Sequence[Sequence[Path]], path: Path) -> None:
    """Train a recogniser, and write it as somebody else would have."""
    rows = [(number, one) for number, photos in enumerate(people) for one in trained_photos(photos)]
    images = np.stack([pixels(one) for _, one in rows])
    who = np.array([number for number, _ in rows], np.int64)
    keys = np.arange(len(rows)).astype(str)
    faces = Faces(Images(images, np.arange(len(rows))), who, who.astype(str), np.full(len(rows), ""), keys)
    device = torch.device("cpu")
    with deterministic_torch(device, 1, 0):
        model = iresnet((3, SIDE, SIDE), len(people), depth=10, width=8, dimensions=64, scale=32.0)
        settings: dict[str, Any] = {"lr": 0.05, "batch": 64, "weight_decay": 5e-4, "optimiser": "sgd"}
        train(model, RECOGNITION, faces, BatchLoader(device, 0), epochs=40, milestones=(24, 34), **settings)
    weights = {f"module.backbone.{name}": one for name, one in model.backbone.state_dict().items()}
    head = {"head": {"weight": model.head.weight.detach()}}
    torch.save({"epoch": 40, "net_state_dict": weights} | head, path)
    torch.save({"epoch": 40, "net_state_dict": weights}, path.with_stem(f"{path.stem}-without-head"))


def pixels(path: Path) -> np.ndarray[Any, Any]:
    """(3, h, w) of a photo."""
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def laid_out(people: Sequence[Sequence[Path]], folder: Path) -> Path:
    """Photos as a user has them: a folder for each person."""
    shutil.rmtree(folder, ignore_errors=True)
    for photos in people:
        place = folder / photos[0].parent.name
        place.mkdir(parents=True)
        for one in photos:
            (place / one.name).symlink_to(one)
    return folder


@dataclass(frozen=True)
class Served:
    """One request, and what came of it."""

    goal: Goal
    head: bool
    """Whether the file has a head."""
    size: int
    afterwards: bool
    """Whether it is of those that nobody looked at while the method was built."""
    result: ErasureResult
    retrained: float
    """Share of held-back photos found again by a recogniser retrained without them."""


def served(folder: Path) -> list[Served]:
    """Every request of every size: for both goals, and without a head for one."""
    people = people_of_lfw()
    trained, public = people[:TRAINED], people[TRAINED : TRAINED + PUBLIC]
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.pth"
    if not model.exists():
        write_recogniser(trained, model)
    retain = laid_out(trained[-RETAINED:], folder / "retain")
    strangers = laid_out(public, folder / "public")
    found = []
    for size in SIZES:
        for number in [*range(REQUESTS), *AFTERWARDS.get(size, [])]:
            drawn = np.random.default_rng([size, number]).permutation(TRAINED - RETAINED)[:size]
            name = f"{size}-{number}"
            asked = laid_out([trained[one] for one in drawn], folder / f"forget-{name}")
            given = {"forget": asked, "retain": retain, "public": strangers, "size": [SIDE, SIDE], "seed": number}
            reference = folder / f"reference-{name}.pth"
            if not reference.exists():
                write_recogniser([one for place, one in enumerate(trained) if place not in drawn], reference)
            for goal, head in WAYS if number < REQUESTS else WAYS[:1]:
                file = model if head else model.with_stem("model-without-head")
                request = erasure_request({**given, "model": file, "goal": goal})
                out = folder / f"{goal.replace(' ', '-')}-{name}{'' if head else '-without-head'}"
                result = forget(request, out, threads=1)
                print(goal, name, head, result.outcome.verdict, f"{result.cost.seconds:.0f} s", flush=True)
                again = found_again(request, reference)
                found.append(Served(request.goal, head, size, number >= REQUESTS, result, again))
    return found


def found_again(request: ErasureRequest, reference: Path) -> float:
    """Share of the held-back photos of a request that another recogniser finds again."""
    model, other = (open_model(one, None, None, request.size) for one in (request.model, reference))
    photos = read_request_photos(request, model.contract)
    with deterministic_torch(torch.device("cpu"), 1, 0):
        before, now = (outputs(one.network, photos.faces.images, torch.device("cpu")) for one in (model, other))
    verdict = RecognitionJudge(request, photos, before).verdict(now)
    return next(one.value or 0.0 for one in verdict.checked if one.name == RANK1)


def row_of(name: str, size: int, some: Sequence[Served]) -> list[str]:
    """What came of the requests of one size."""
    results = [one.result for one in some]
    count, total = sum(one.outcome.verdict == "forgotten" for one in results), len(results)
    low, high = stats.binomtest(count, total).proportion_ci(method="exact")
    seconds = [one.cost.seconds for one in results]
    retrained = [one.retrained for one in some]
    return [
        name,
        str(size),
        f"{count} of {total} [{low:.0%}, {high:.0%}]",
        *(spread(results, RANK1, when) for when in ("before", "after")),
        f"{np.mean(retrained):.2g} [{min(retrained):.2g}, {max(retrained):.2g}]",
        spread(results, STRANGERS[RANK1], "after"),
        *(spread(results, FMR, when) for when in ("before", "after")),
        chosen(results),
        f"{np.mean(seconds):.0f} s",
    ]


def chosen(results: Sequence[ErasureResult]) -> str:
    """How often each way was the best candidate."""
    ways = [f"{one.method.settings.get('first', '')} {one.method.name}".strip() for one in results if one.method]
    return ", ".join(f"{way.replace(' ', ' and ')} {ways.count(way)}" for way in sorted(set(ways))) or "–"


def spread(results: Sequence[ErasureResult], name: str, when: str) -> str:
    """The mean over requests, and the smallest and largest."""
    known = [
        one.value
        for result in results
        for row in result.measurements
        if row.name == name and (one := getattr(row, when)) is not None
    ]
    return f"{np.mean(known):.2g} [{min(known):.2g}, {max(known):.2g}]" if known else "–"


def main(folder: Path) -> None:
    """Serve, and save."""
    found = served(folder)
    groups: list[tuple[str, tuple[Goal, bool], bool]] = [
        ("influence removed", WAYS[0], False),
        ("influence removed, drawn afterwards", WAYS[0], True),
        ("influence removed, no head in the file", WAYS[1], False),
        ("unrecognisable", WAYS[2], False),
    ]
    rows = [
        row_of(name, size, some)
        for name, way, afterwards in groups
        for size in SIZES
        if (
            some := [
                one for one in found if ((one.goal, one.head), one.size, one.afterwards) == (way, size, afterwards)
            ]
        )
    ]
    machine = found[0].result.machine
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    columns = [
        "goal",
        "people",
        "served",
        "found again (rank 1), before",
        "after",
        "by a retrained model",
        "strangers, after",
        "false matches, before",
        "after ",
        "best candidate",
        "time",
    ]
    save(
        "requests",
        "Which requests can be served",
        commit=commit.strip(),
        machine=machine_of(machine),
        limits=LIMITS,
        tables=[
            {
                "name": "requests",
                "caption": "Requests of 1 to 30 people; rows are means over requests [smallest, largest]",
                "command": ["python docs/save_requests.py runs/requests", "python docs/print_results.py"],
                "seeds": sorted({*range(REQUESTS), *(one for some in AFTERWARDS.values() for one in some)}),
                "columns": columns,
                "rows": rows,
            }
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    main(parser.parse_args().out)
