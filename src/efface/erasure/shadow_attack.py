"""LiRA on a model in use: shadow models, trained as it was by a recipe, tell what its answers to each photo would be
had it been trained on the person, and had it not (Carlini et al., S&P 2022, arXiv:2112.03570).

People who asked and strangers are dealt alike: each shadow is trained on those who stay and on half of both, the next
one on the other half. The score of the people's photos is compared with that of the strangers', whom the model in use
never saw: 0.5 is what a model has that never saw either.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from efface.data.batches import derive
from efface.data.faces import Array
from efface.erasure.candidates import seconds_of_step
from efface.erasure.deployed import people_draws
from efface.erasure.judge import Judge
from efface.erasure.measuring import paired
from efface.erasure.opened import Opened
from efface.erasure.photos import RequestPhotos, predictions_of
from efface.erasure.recipe import read_recipe
from efface.erasure.record import Measurement
from efface.erasure.request import ErasureRequest
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.files import make_folder, write_private
from efface.measures.bootstrap import Measure, measure
from efface.measures.likelihood_ratios import ShadowSignals, lira
from efface.progress import Say
from efface.tasks import TASKS

FEWEST = 4
"""Shadow models: two with each person, and two without."""
LIRA = "membership attack by shadow models (LiRA, AUC)"


def shadow_attack(
    request: ErasureRequest,
    model: Opened,
    photos: RequestPhotos,
    judge: Judge,
    after: Array | None,
    folder: Path,
    device: torch.device,
    say: Say,
) -> list[Measurement]:
    """How well the photos of the people who asked are told from strangers', before and after; nothing where no shadow
    models were asked for.

    after: (n, ...) answers of the model after; folder: keeps each shadow's signals, so that a killed run goes on.
    """
    if not request.shadows:
        return []
    task = TASKS[request.task]
    asked = np.sort(np.concatenate([photos.forget, photos.forget_held]))
    strangers = np.sort(np.concatenate([photos.calibration, photos.strangers]))
    rows, stay = (
        np.concatenate([asked, strangers]),
        np.concatenate([photos.retain, photos.retain_held, photos.teaching]),
    )
    recipe, who = read_recipe(request.recipe, task), photos.faces.identities

    def signal(answers: Array) -> NDArray[np.float64]:
        return np.asarray(task.signal.of(predictions_of(photos, answers, rows)), np.float64)

    sides = dealt(who[asked], who[strangers], request.shadows, request.seed)
    included = np.stack([np.isin(who[rows], list(people)) for people in sides])
    step = seconds_of_step(model.network, photos.faces[np.sort(stay)], recipe.batch, device, request.trained_in)
    minutes = request.shadows * recipe.steps(len(stay) + len(rows) // 2) * step / 60
    say(f"training {request.shadows} shadow models: about {minutes:.1f} min")
    seen = []
    for number, mine in enumerate(included):
        path = make_folder(folder) / f"shadow-{number}.npy"
        if not path.exists():
            faces = photos.faces[np.sort(np.concatenate([stay, rows[mine]]))]
            seed = derive(request.seed, "shadow", number)
            answers = judge.answers_before[:1]
            shadow = recipe.trained(model.network, task, faces, device, seed, answers, request.trained_in)
            content = io.BytesIO()
            np.save(content, signal(outputs(shadow, photos.faces.images, device)))
            write_private(path, content.getvalue())
            say(f"shadow model {number + 1} of {request.shadows}")
        seen.append(np.load(path, allow_pickle=False))
    signals = ShadowSignals(included, np.stack(seen))
    found = [
        None if answers is None else told_apart(lira(signal(answers), signals), who[rows], len(asked))
        for answers in (judge.answers_before, after)
    ]
    (said,) = [paired(LIRA, *found)]
    if (before := found[0]) is not None and (before.low is None or before.low <= 0.5):
        blind = (
            "it does not find them in the model before either, so it says nothing of the model after: take more shadow "
            "models, or a recipe nearer to the model's own"
        )
        said = said.model_copy(update={"about": f"{said.about}; {blind}"})
    return [said]


def dealt(asked: Array, strangers: Array, shadows: int, seed: int) -> list[set[str]]:
    """Whom each shadow is trained on: half of the people who asked and half of the strangers, and the next one on the
    others. Raises InputError for fewer than four shadows, and an odd number of them."""
    if shadows < FEWEST or shadows % 2:
        raise InputError(f"shadows: {shadows} were asked for, expected an even number from {FEWEST} on")
    rng, sides = np.random.default_rng(seed), list[set[str]]()
    groups = [np.unique(one) for one in (asked, strangers)]
    for pair in range(shadows // 2):
        halves: tuple[set[str], set[str]] = (set(), set())
        for people in groups:
            order = rng.permutation(people)
            middle = (len(order) + pair % 2) // 2
            halves[0].update(order[:middle].tolist())
            halves[1].update(order[middle:].tolist())
        sides += halves
    return sides


def told_apart(score: NDArray[np.float64], who: Array, asked: int) -> Measure:
    """AUC of the first `asked` photos' scores against the rest's, people counting alike; resampled by people."""
    theirs, others = score[:asked], score[asked:]
    above = (theirs[:, None] > others[None]).astype(np.float64) + 0.5 * (theirs[:, None] == others[None])
    known = np.isfinite(theirs)[:, None] & np.isfinite(others)[None]
    first, second = (np.unique(some, return_inverse=True)[1] for some in (who[:asked], who[asked:]))
    wins, pairs = np.zeros((2, first.max() + 1, second.max() + 1))
    np.add.at(wins, (first[:, None], second[None]), np.where(known, above, 0))
    np.add.at(pairs, (first[:, None], second[None]), known)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(pairs > 0, wins / pairs, np.nan)
    about = (
        "share of pairs of one of their photos and a stranger's in which theirs looks more trained on, by shadow "
        "models with and without each person; 0.5: the two cannot be told apart"
    )
    if not np.isfinite(shares).all():
        return Measure(None, None, None, "none", f"{about} (too few shadow models have, or lack, somebody)")
    by_asked, by_strangers = people_draws(len(shares)), people_draws(shares.shape[1])
    by_strangers = np.vstack([by_strangers[:1], np.roll(by_strangers[1:], 1, axis=0)])
    draws = np.einsum("rp,pq,rq->r", by_asked, shares, by_strangers) / (by_asked.sum(1) * by_strangers.sum(1))
    if len(shares) < 3:
        return Measure(float(draws[0]), None, None, "none", about, len(shares))
    return measure(draws, "none", about)
