"""Saves the tables of runs where ways to forget can differ, as results/regimes.json.

efface run plans/few_people.toml --out runs/few_people --threads 1      (and few_eyes, few_gender)
python docs/save_results.py COMMIT runs/few_people runs/few_eyes runs/few_gender

Tables of runs that are not given stay as they are, with the commit that made them. For each run two tables: every row
with its intervals over people and seeds, under the headroom of each measure; and how much nearer to retraining
`out_of_fold` is than every other method, paired by seed, with Student's 95% interval over seeds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.report.paired import cell_of, nearer_to_retraining
from efface.results import NONMEMBERS, RESERVED, Results, read_results

OURS = "out_of_fold"
ATTACK = MeasureKey("membership", "auc", level="photo")
TOW = MeasureKey("distance", "tow")
ROOT = Path(__file__).parents[1]
TITLES = {
    "few_people": "Recognition: 15 of 250 people",
    "few_eyes": "Eye centres: a tenth of one group",
    "few_gender": "Gender: 5% of the people",
}
LIMITS = [
    "Networks and pictures are small (24 to 32 pixels), and trained until they know their faces by heart; that is what "
    "gives methods room to differ.",
    "LiRA asks 32 shadow models on recognition, 16 on the others. On recognition two photos of each forgotten person "
    "are held back and none of a stranger's: an attack may see that. U-LiRA was not run.",
    "“Faces seen” counts all three settings of a row whose rate was searched; the models of folds are not in it, and "
    "stand beside it: they are trained once and serve every later request.",
    "Attacks, errors on the forgotten and tug of war are by photos that methods were handed, as a membership question "
    "is; only “found by held-back photos” is by photos no method saw, and of 15 people it is too coarse to separate.",
    "Differences are paired by seed; their intervals are over five seeds alone, not over people.",
]

EARLIER = "Tables of {} were made at commit `{}`."


def columns_of(results: Results) -> list[tuple[str, MeasureKey]]:
    """What stands in a run's table: (title, measure)."""
    task = results.requests[0].task
    own = {
        "embeddings": [
            ("compactness of the forgotten", MeasureKey("score", "compactness", split="forget", group="all")),
            ("found by held-back photos (rank 1)", MeasureKey("identification", "rank1", split="forget")),
        ],
        "points": [("answers apart, forgotten", MeasureKey("distance", "answers", split="forget"))],
        "logits": [("JS, forgotten", MeasureKey("distance", "js", split="forget"))],
    }[task.outputs]
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


def rows_of(results: Results) -> tuple[list[str], list[list[str]]]:
    """Titles, and the rows under them: headroom first, then every model."""
    known = [
        (title, key) for title, key in columns_of(results) if any(key in one.measures for one in results.summaries)
    ]
    bills = {one.method: one.cost for one in results.evaluations}
    room = results.headroom_of(results.requests[0].arm)
    rooms = [f"{value:.1f}" if (value := room.get(key)) is not None else "–" for _, key in known]
    rows = [["*headroom*", *rooms, "", ""]] if room else []
    for one in results.summaries:
        if one.method == NONMEMBERS:
            continue
        cost = bills.get(one.method)
        share = None if cost is None else cost.faces_of_retraining
        folds = None if cost is None else cost.folds_of_retraining
        rows.append(
            [
                wording.row_title(one.method),
                *(wording.interval(one.measures.get(key)) for _, key in known),
                "–" if not share else f"{share:.0%}",
                "–" if folds is None else f"{folds:.0%}",
            ]
        )
    return ["model", *(title for title, _ in known), "faces seen, of retraining", "and by models of folds"], rows


def paired(results: Results) -> tuple[list[str], list[list[str]]]:
    """`out_of_fold` beside every other method, by how far each is from retraining in a column; below 0: nearer."""
    arm, made = results.requests[0].arm, {one.method: one.measures for one in results.evaluations}
    known = [(title, key) for title, key in columns_of(results) if key in made[OURS]]
    table = [
        [other, *(cell_of(nearer_to_retraining(results, arm, key, OURS, other))[0] for _, key in known)]
        for other in made
        if other not in (OURS, *RESERVED)
    ]
    return ["other method", *(title for title, _ in known)], table


def main(commit: str, folders: Sequence[Path]) -> None:
    """Write results/regimes.json from finished runs; commit: of the code that made them."""
    path = ROOT / "results" / "regimes.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    kept = {one["name"]: {"commit": before["commit"]} | one for one in before["tables"]}
    tables: dict[str, dict[str, Any]] = {}
    machine = ""
    for folder in folders:
        results = read_results(folder)
        plan, made = f"plans/{folder.name}.toml", results.environment
        machine = f"{made.processor}, {made.threads} thread, Python {made.python}, torch {made.versions['torch']}"
        command = [
            f"efface run {plan} --out runs/{folder.name} --threads 1",
            f"python docs/save_results.py {commit} {' '.join(f'runs/{one.name}' for one in folders)}",
        ]
        common = {
            "command": command,
            "commit": commit,
            "plan": plan,
            "seeds": sorted({one.seed for one in results.evaluations}),
        }
        head, rows = rows_of(results)
        caption = TITLES[folder.name]
        tables[folder.name] = {"name": folder.name, "caption": caption, **common, "columns": head, "rows": rows}
        head, rows = paired(results)
        caption += ": how much nearer to retraining out_of_fold is (below 0) than each other method"
        name = f"{folder.name}, paired"
        tables[name] = {"name": name, "caption": caption, **common, "columns": head, "rows": rows}
    earlier = [name for name in TITLES if name not in tables and name in kept]
    limits = [
        *LIMITS,
        *(EARLIER.format(TITLES[name].split(":")[0].lower(), kept[name]["commit"][:7]) for name in earlier),
    ]
    made_now = [name for one in TITLES for name in (one, f"{one}, paired")]
    saved = {
        "title": "Where ways to forget can differ",
        "commit": commit,
        "note": "Saved from the runs' results by the command beside each table.",
        "machine": machine,
        "known": "Limits of these numbers:",
        "limits": limits,
        "tables": [one for name in made_now if (one := tables.get(name, kept.get(name)))],
    }
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], [Path(one) for one in sys.argv[2:]])
