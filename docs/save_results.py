"""Saves the tables of runs where ways to forget can differ, as results/regimes.json.

efface run plans/few_people.toml --out runs/few_people --threads 1      (and few_eyes, few_gender, misfiled, ...)
python docs/save_results.py COMMIT runs/few_people runs/few_eyes runs/few_gender runs/few_eyes_unlearned

Tables of runs that are not given stay as they are, with the commit that made them. For each run two tables: every row
with its intervals over people and seeds, under the headroom of each measure; and how much nearer to retraining
`out_of_fold` is than every other method, paired by seed, with Student's 95% interval over seeds. Of a run whose shadows
were made to forget also two: U-LiRA of every row beside its controls, and what the shadows took.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efface.evaluation.headroom import headrooms
from efface.measure_key import MeasureKey
from efface.models.load import read_weights
from efface.report import wording
from efface.results import NONMEMBERS, ORIGINAL, RESERVED, Results, Summary, read_results
from saving import ROOT, Columns, Table, commit_and_runs, machine_of, model_rows, nearer, save, seeds_of

OURS = "out_of_fold"
LOOKALIKES = "lookalikes"
ATTACK = MeasureKey("membership", "auc", level="photo")
TOW = MeasureKey("distance", "tow")
TITLES = {
    "few_people": "Recognition: 15 of 250 people",
    "few_eyes": "Eye centres: a tenth of one group",
    "few_gender": "Gender: 5% of the people",
    "few_gender_again": "Gender: 5% of the people, other people",
    "few_people_unlearned": "U-LiRA on recognition: 15 of 258 people",
    "few_eyes_unlearned": "U-LiRA on eye centres: a tenth of one group",
    "few_gender_unlearned": "U-LiRA on gender: 5% of the people",
    "misfiled": "Recognition: photos of 30 people filed under others",
    "few_people_leace": "Recognition: a direction for each person taken out of the last layer",
}
LIMITS = [
    "Networks and pictures are small (24 to 32 pixels), and trained until they know their faces by heart; that is what "
    "gives methods room to differ.",
    "LiRA asks 32 shadow models on recognition, 16 on the others. On recognition two photos of each forgotten person "
    "are held back and none of a stranger's: an attack may see that.",
    "“Faces seen” counts every setting of a row whose rate was searched; the models of folds are not in it, and "
    "stand beside it: they are trained once and serve every later request.",
    "Attacks, errors on the forgotten and tug of war are by photos that methods were handed, as a membership question "
    "is; only “found by held-back photos” is by photos no method saw, and of 15 people it is too coarse to separate.",
    "Rates are chosen on people of `val`: among those with an attack within .05 of one half the one that serves its "
    "worst group best, where none is, the one whose attack is nearest. Grids were moved until the rate that is taken "
    "in most seeds lay between others, but for SCRUB on recognition: of its five the last is taken in three seeds. "
    "`out_of_fold` was not searched, its rates are its defaults.",
    "Relearning is “–” where in some seed the forgotten were not known again within 1,000 steps; then nothing is "
    "compared either.",
    "Differences are paired by seed; their intervals are over five seeds alone, not over people.",
    "Misfiled photos: attack and tug of war are of the misfiled photos as they were filed; they are of people whom the "
    "retrained model knows by their other photos.",
    "U-LiRA: one seed; 16 shadow models and 15 people on recognition, 8 shadow models on eye centres and gender; no "
    "photo held back. “Over shadows” resamples people and pairs of shadow models, eight or four, so few that its "
    "interval is narrower than it should be.",
]

EARLIER = "Tables of “{}” were made at commit `{}`."


def columns_of(results: Results, arm: str) -> Columns:
    """What stands in the table of an arm: (title, measure)."""
    task = next(one.task for one in results.requests if one.arm == arm)
    own = {
        "embeddings": [
            ("compactness of the forgotten", MeasureKey("score", "compactness", split="forget", group="all")),
            ("found by held-back photos (rank 1)", MeasureKey("identification", "rank1", split="forget")),
        ],
        "points": [("answers apart, forgotten", MeasureKey("distance", "answers", split="forget"))],
        "logits": [("JS, forgotten", MeasureKey("distance", "js", split="forget"))],
    }[task.outputs]
    own += [
        ("taken for the other, held-back photos", MeasureKey("misfiled", "person")),
        ("the other taken for them", MeasureKey("misfiled", "other")),
        ("cosine between them, over others'", MeasureKey("misfiled", "pull")),
        ("misfiled photos nearer to the wrong name", MeasureKey("misfiled", "photos")),
    ]
    error = task.error.replace("_", " ")
    return [
        ("attack AUC", ATTACK),
        ("LiRA", MeasureKey("attack", "lira/auc", level="photo")),
        ("relearning, of the reference's steps", MeasureKey("relearn", "ain")),
        ("ToW", TOW),
        *own,
        (f"{error}, forgotten", MeasureKey("score", task.error, split="forget", group="all")),
        (f"{error}, test", MeasureKey("score", task.error, split="test", group="all")),
    ]


BILLS = {"faces seen, of retraining": "faces_of_retraining", "and by models of folds": "folds_of_retraining"}


def rows_of(results: Results) -> Table:
    """Every model of the first arm, under the headroom of each measure."""
    arm = results.requests[0].arm
    room = {one.measure: one.value for one in headrooms(results.evaluations) if one.arm == arm}
    return model_rows(results, arm, columns_of(results, arm), room, BILLS)


ULIRA = {
    "LiRA": "lira/auc",
    "U-LiRA": "u-lira/auc",
    "the same on the reference": "u-lira/auc of the reference",
}
"""Attacks of a run whose shadows were made to forget: (title, metric)."""
CONTROL = MeasureKey("attack", ULIRA["the same on the reference"], level="photo")
"""What rows have for which shadows were made to forget, and no other row."""
LESS = MeasureKey("attack", "u-lira/auc", against="reference", level="photo")


def unlearned_rows(results: Results) -> Table:
    """Every row under LiRA and, where shadows forgot as it did, U-LiRA; of later arms only the rows that have one."""
    levels = ("photo", "person")
    titles = [f"{title}, per {level}" for level in levels for title in ULIRA]
    rows = []
    for one in results.summaries:
        own = CONTROL in one.measures
        if one.method == NONMEMBERS or (one.arm != results.requests[0].arm and not own):
            continue
        found = [
            one.measures.get(MeasureKey("attack", metric, level=level)) if own or metric == ULIRA["LiRA"] else None
            for level in levels
            for metric in ULIRA.values()
        ]
        if any(found):
            less = one.measures.get(LESS) if own else None
            title = wording.row_title(one.method)
            rows.append(
                [
                    f"{title}, {one.arm}" if own and one.arm else title,
                    *map(wording.interval, found),
                    wording.interval(less),
                    wording.interval(over_shadows(one)),
                ]
            )
    return ["model", *titles, "U-LiRA less that on the reference", "over shadows as targets"], rows


def over_shadows(row: Summary) -> Any:
    """The attack on a way to train (the original's) or to forget, by all shadows."""
    name = "lira" if row.method == ORIGINAL else "u-lira"
    return row.measures.get(MeasureKey("attack", f"{name}/auc over shadows", level="photo"))


SHADOWS = {
    "shadows trained": r"shadow-\d+-seed\d+-",
    "models of their own folds": r"shadow-\d+-fold-\d+-of-\d+-(repeat-\d+-)?seed\d+-",
}


def spent(folder: Path, results: Results) -> Table:
    """What the shadows of a run took, by the bills in its store."""
    first = min(shadow_seeds(folder))
    kinds = SHADOWS | {
        f"shadows that forgot by {one}": rf"{re.sub(r'[^a-z0-9]+', '-', one.lower()).strip('-')}-seed(\d+)-"
        for one in dict.fromkeys(row.method for row in results.summaries if row.method not in RESERVED)
    }
    rows = []
    for kind, pattern in kinds.items():
        files = [path for path in (folder / "models").glob("*.safetensors") if re.match(pattern, path.name)]
        if kind not in SHADOWS:
            files = [path for path in files if int(re.findall(r"seed(\d+)-", path.name)[0]) >= first]
        bills = [read_weights(path)[1] for path in files]
        if bills:
            minutes, faces = sum(one["seconds"] for one in bills) / 60, sum(one["faces"] for one in bills)
            rows.append([kind, str(len(bills)), f"{minutes:.1f}", f"{faces / 1e6:.2f}"])
    return ["what", "models", "minutes", "faces seen, millions"], rows


def shadow_seeds(folder: Path) -> list[int]:
    """Seeds of a run's shadows."""
    names = [path.name for path in (folder / "models").glob("shadow-*.safetensors")]
    return [int(found[0]) for name in names if (found := re.findall(r"seed(\d+)-", name))]


def searched(results: Results, arm: str) -> Table:
    """What each rate of an arm's rows came to on people of `val`, means over seeds, and in how many it was taken."""
    rows = []
    searches = [one for one in results.searches if one.arm == arm]
    for method in dict.fromkeys(one.method for one in searches):
        tried = [one for search in searches if search.method == method for one in search.tried]
        for settings in sorted({tuple(one.settings.items()) for one in tried}):
            same = [one for one in tried if tuple(one.settings.items()) == settings]
            rows.append(
                [
                    wording.row_title(method),
                    ", ".join(f"{name} {value:g}" for name, value in settings),
                    *(f"{np.mean([getattr(one, name) for one in same]):.3f}" for name in ("attack", "worst_error")),
                    f"{sum(one.chosen for one in same)} of {len(same)}",
                ]
            )
    return ["model", "rate", "attack AUC", "error of the group it serves worst", "taken, of seeds"], rows


def paired(results: Results) -> Table:
    """`out_of_fold` beside every other method, and our lookalikes beside others' methods, by how far each is from
    retraining in a column; below 0: nearer."""
    arm, made = results.requests[0].arm, {one.method: one.measures for one in results.evaluations}
    known = [(title, key) for title, key in columns_of(results, arm) if key in made[OURS]]
    others = [one for one in made if one not in (OURS, *RESERVED)]
    pairs = {one: (OURS, one) for one in others}
    if LOOKALIKES in others:
        theirs = [one for one in others if not one.startswith((OURS, "upper", LOOKALIKES))]
        pairs |= {f"{LOOKALIKES}, beside {one}": (LOOKALIKES, one) for one in theirs}
    return nearer(results, arm, known, pairs, "other method")


def main(commit: str, folders: Sequence[Path]) -> None:
    """Write results/regimes.json from finished runs; commit: of the code that made them."""
    before = json.loads((ROOT / "results" / "regimes.json").read_text(encoding="utf-8"))
    kept = {one["name"]: {"commit": before["commit"], "machine": before["machine"]} | one for one in before["tables"]}
    tables: dict[str, dict[str, Any]] = {}
    machine = ""
    for folder in folders:
        results = read_results(folder)
        plan, made = f"plans/{folder.name}.toml", results.environment
        machine = machine_of(made)
        command = [
            f"efface run {plan} --out runs/{folder.name} --threads {made.threads}",
            f"python docs/save_results.py {commit} {' '.join(f'runs/{one.name}' for one in folders)}",
        ]
        common = {
            "command": command,
            "commit": commit,
            "machine": machine,
            "plan": plan,
            "seeds": seeds_of(results),
        }
        forgot = any(CONTROL in one.measures for one in results.summaries)
        made_of: list[tuple[str, str, Table]] = (
            [
                ("", ": who is told by shadows that forgot in the same way", unlearned_rows(results)),
                (", cost", ": what the shadows took", spent(folder, results)),
            ]
            if forgot
            else [
                ("", "", rows_of(results)),
                (
                    ", paired",
                    ": how much nearer to retraining out_of_fold is (below 0) than each other method",
                    paired(results),
                ),
                (
                    ", searched",
                    ": what was tried on people of val, means over seeds",
                    searched(results, results.requests[0].arm),
                ),
            ]
        )
        for ending, about, (head, rows) in made_of:
            if not rows:
                continue  # nothing was searched
            name, caption = f"{folder.name}{ending}", f"{TITLES[folder.name]}{about}"
            tables[name] = {"name": name, "caption": caption, **common, "columns": head, "rows": rows}
    earlier = [name for name in TITLES if name not in tables and name in kept]
    limits = [
        *LIMITS,
        *(EARLIER.format(TITLES[name], kept[name]["commit"][:7]) for name in earlier),
    ]
    in_order = [
        name for one in TITLES for name in (one, *(f"{one}, {more}" for more in ("paired", "searched", "cost")))
    ]
    save(
        "regimes",
        "Where ways to forget can differ",
        commit=commit,
        machine=machine,
        limits=limits,
        tables=[one for name in in_order if (one := tables.get(name, kept.get(name)))],
    )


if __name__ == "__main__":
    main(*commit_and_runs(__doc__))
