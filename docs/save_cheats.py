"""Saves what fools a published score and what catches it, as results/cheats.json.

efface run plans/cheats.toml --out runs/cheats --jobs 2
python docs/save_cheats.py COMMIT runs/cheats
"""

from __future__ import annotations

from pathlib import Path

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.results import REFERENCE, read_results
from saving import commit_and_runs, entries, machine_of, save

LOSS = ("loss attack, AUC", MeasureKey("attack", "loss/auc", level="photo"))
FOREST = ("forest attack, AUC", MeasureKey("attack", "forest/auc", level="photo"))
NOMUS = ("NoMUS", MeasureKey("benchmark", "nomus"))


def error(name: str) -> tuple[str, MeasureKey]:
    """What a test face's score is called, and its mean."""
    title = {"within_0.25": "test eyes found within a quarter of their distance", "accuracy": "test accuracy"}
    return title.get(name, name.replace("_", " ")), MeasureKey("score", name, split="test", group="all")


def growth(name: str) -> tuple[str, MeasureKey]:
    """How much everybody's error grew."""
    return "growth of the test error, %", MeasureKey("increase", name, group="all", against="original")


CHEATS: list[tuple[str, str, str, tuple[str, MeasureKey], tuple[str, MeasureKey]]] = [
    ("do nothing", "eyes", "do nothing", growth("normalised_error"), LOSS),
    ("do nothing", "ages", "do nothing", growth("error"), LOSS),
    ("do nothing", "attributes", "do nothing", growth("error"), LOSS),
    ("do nothing", "recognition", "do nothing", growth("impostor_rate"), LOSS),
    ("random weights", "eyes", "random weights", LOSS, error("within_0.25")),
    ("random weights", "ages", "random weights", LOSS, error("accuracy")),
    ("random weights", "attributes", "random weights", FOREST, error("accuracy")),
    ("random weights", "recognition", "random weights", LOSS, error("impostor_rate")),
    ("a constant answer to the forgotten", "attributes", "constant answer", NOMUS, FOREST),
    (
        "a high temperature on the forgotten",
        "attributes",
        "temperature",
        ("the benchmark's attack, accuracy", MeasureKey("benchmark", "attack")),
        FOREST,
    ),
    (
        "the head's rows deleted",
        "recognition",
        "delete head rows",
        ("UES", MeasureKey("head", "ues")),
        ("UES through a fresh head", MeasureKey("fresh head", "ues")),
    ),
    ("the head's rows deleted", "recognition", "delete head rows", ("UES", MeasureKey("head", "ues")), LOSS),
]
"""Cheat, arm and row, the score that it fools, and the one that catches it."""
LIMITS = [
    "Synthetic faces and one seed: intervals are over people alone.",
    "What the cheats do is in `efface.testing.cheats`. A score is fooled where it calls the cheat's value good, which "
    "need not be as good as the retrained model's: UES of deleted rows is below it.",
]


def main(commit: str, folder: Path) -> None:
    """Write results/cheats.json from a finished run."""
    results = read_results(folder)
    rows = {(one.arm, one.method): one.measures for one in results.summaries}
    cells = []
    for title, arm, name, *keys in CHEATS:
        values = [
            part
            for label, key in keys
            for part in (label, *(wording.interval(rows[arm, row].get(key)) for row in (name, REFERENCE)))
        ]
        cells.append([title, arm, *values])
    head = ["cheat", "on", "score it fools", "the cheat's", "a retrained model's", "what catches it"]
    caption = "Cheats by what they fool and what catches them"
    made = {"cheats": (caption, ([*head, "the cheat's ", "a retrained model's "], cells))}
    save(
        "cheats",
        "Cheats: what fools a score",
        commit=commit,
        machine=machine_of(results.environment),
        limits=LIMITS,
        tables=entries("save_cheats.py", commit, folder, results, made),
    )


if __name__ == "__main__":
    made_at, (run,) = commit_and_runs(__doc__)
    main(made_at, run)
