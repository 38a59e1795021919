"""Settings chosen, not guessed: every candidate is measured on people nobody trained on and no audit looks at.

Of the candidates that keep the forgetting verdict, the one that serves its worst group best. The verdict here asks what
can be asked before anything was retrained: are the forgotten told apart from people of `val` of the same groups (and
class)? The strangers of the attack, the test faces and the reference take no part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Splits
from efface.distributed import processes
from efface.errors import InputError, refusing
from efface.evaluation.evaluate import score_faces
from efface.evaluation.predict import predict
from efface.experiment.store import seal
from efface.files import read_json, write_text
from efface.measure_key import ALL
from efface.measures.attacks import auc, membership_scores_of
from efface.measures.bootstrap import Bootstrap
from efface.measures.utility import groups_of
from efface.results import Candidate
from efface.tasks import Task
from efface.training.environment import cpu_time
from efface.training.reweight import cells

TIMES = 200
"""Resamples for the interval of a candidate's attack."""


def search(
    candidates: Sequence[Mapping[str, Any]],
    tried: Sequence[Mapping[str, Any]],
    method: Callable[[BatchLoader, Mapping[str, Any]], nn.Module],
    splits: Splits,
    task: Task,
    loader: BatchLoader,
    within: float,
    record: Path,
) -> nn.Module:
    """The model of the best candidate; all of them are written to `record`.

    candidates: complete settings; tried: what distinguishes each; method: (loader, settings) to a model.
    within: how far from one half the attack may be. If no candidate is within, the nearest is taken, and `record` says
    of each that it was not kept.
    """
    if not len(splits.val):
        raise InputError("search chooses by the people of val, and there are none: set split.val")
    best: nn.Module | None = None
    found: list[Candidate] = []
    for settings, names in zip(candidates, tried, strict=True):
        own = loader.afresh()
        torch.manual_seed(loader.seed)
        began, cpu_began = time.perf_counter(), cpu_time()
        model = method(own, settings)
        took = (time.perf_counter() - began, cpu_time() - cpu_began)
        loader.add(own)
        found.append(candidate_of(model, splits, task, dict(names), own, took, within))
        if found[-1].attack is not None and best_of(found) == len(found) - 1:
            best = model
    place = best_of(found)
    found[place] = found[place].model_copy(update={"chosen": True})
    if processes().first:
        write_text(record, json.dumps([one.model_dump() for one in found], indent=1) + "\n")
        seal(record)
    assert best is not None
    return best


def candidate_of(
    model: nn.Module,
    splits: Splits,
    task: Task,
    settings: dict[str, Any],
    loader: BatchLoader,
    took: tuple[float, float],
    within: float,
) -> Candidate:
    """What validation people say of one candidate; took: wall and CPU seconds."""
    seconds, cpu_seconds = took
    nobody = splits.test[np.zeros(0, int)]
    asked = replace(
        splits, forget_unseen=nobody, retain=nobody, retain_unseen=nobody, public=nobody, test=nobody, strangers=nobody
    )
    predictions = predict(model, asked, (), loader.device)
    if not np.isfinite(predictions.outputs).all():
        return Candidate(
            settings=settings,
            worst_group="",
            worst_error=None,
            attack=None,
            attack_low=None,
            attack_high=None,
            faces=loader.faces_used,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            kept=False,
        )
    scored = score_faces(predictions, task)
    error = scored.scores[task.error]
    groups = [group for group in groups_of(predictions) if np.isfinite(error[predictions.rows("val", group)]).any()]
    errors = {
        group: float(np.nanmean(error[predictions.rows("val", None if group == ALL else group)]))
        for group in groups or [ALL]
    }
    worst = max(errors, key=lambda group: errors[group])
    of = np.concatenate([cells(faces, task) for _, faces in asked.items() if len(faces)])
    as_strangers = replace(
        predictions, split=np.where(predictions.split == "val", "strangers", predictions.split), group=of
    )
    membership_scores = membership_scores_of(
        as_strangers, -scored.signal, Bootstrap(as_strangers, TIMES), people=False, times=TIMES
    )
    if membership_scores is None:
        raise InputError(
            "search compares the forgotten with people of val of the same groups, and there are none: raise split.val"
        )
    attacks = membership_scores.over_draws(auc)
    low, high = np.percentile(attacks[1:], [2.5, 97.5])
    return Candidate(
        settings=settings,
        worst_group=worst,
        worst_error=errors[worst],
        attack=float(attacks[0]),
        attack_low=float(low),
        attack_high=float(high),
        faces=loader.faces_used,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        kept=bool(abs(attacks[0] - 0.5) <= within),
    )


def best_of(found: Sequence[Candidate]) -> int:
    """The place of the best: the lowest worst error among those kept or, if none is, the attack nearest to one half.

    Raises InputError where every candidate diverged.
    """
    if all(one.attack is None for one in found):
        raise InputError(
            f"search: every candidate answers with what is no number ({[one.settings for one in found]}): "
            "give lower rates"
        )

    def badness(place: int) -> tuple[bool, float]:
        one = found[place]
        if one.attack is None or one.worst_error is None:
            return True, np.inf
        return not one.kept, one.worst_error if one.kept else abs(one.attack - 0.5)

    return min(range(len(found)), key=badness)


def read_search(record: Path) -> list[Candidate]:
    """What `search` wrote; nothing where nothing was searched."""
    if not record.exists():
        return []
    with refusing(f"{record} is no record of a search"):
        return TypeAdapter(list[Candidate]).validate_python(read_json(record, "record of a search"))
