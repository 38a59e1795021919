"""The plans of MUFAC, MUCAC and JAFFE run on folders of exactly the real layout, made small: smaller pictures, a narrow
network and one epoch are all that is changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT
from efface.experiment.run import run
from efface.plan.file import parse_plan, read_plan
from efface.plan.tables import Plan
from efface.results import Results
from efface.testing.layouts import write_celeba_hq, write_jaffe, write_mufac

PLANS = ROOT / "plans"
RNG = np.random.default_rng(0)
MEMBERS = ("F", "M", "D", "S2", "GF")


def noise(count: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


def mufac_folder(folder: Path) -> None:
    """Every member of 48, 6 and 12 families at several ages; the first 1,500 rows of train end within a person."""
    sizes = {"train": (1, 48, 7), "val": (801, 6, 4), "test": (851, 12, 8)}
    families = {
        part: [
            (f"F{first + family:04d}", member, "abcdefgh"[RNG.integers(8)])
            for family in range(count)
            for member in MEMBERS
            for _ in range(photos)
        ]
        for part, (first, count, photos) in sizes.items()
    }
    write_mufac(folder, {part: noise(len(rows), 3, 8, 8) for part, rows in families.items()}, families)


def mucac_folder(folder: Path) -> None:
    """Two photos of some people on both sides of each of MUCAC's borders."""
    people = np.repeat([*range(150, 230), *range(1220, 1290), *range(4830, 4900)], 2).tolist()
    names = [f"attribute_{place}" for place in range(1, 41)]
    names[20], names[31], names[39] = "Male", "Smiling", "Young"
    write_celeba_hq(folder, noise(len(people), 3, 8, 8), people, RNG.choice([-1, 1], (len(people), 40)), names)


def jaffe_folder(folder: Path) -> None:
    people = [person for person in ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM") for _ in range(21)]
    expressions = ["AN", "DI", "FE", "HA", "NE", "SA", "SU"] * 30
    write_jaffe(folder, noise(len(people), 16, 16), people, expressions)


def made_small(plan: Plan, arm: str) -> Plan:
    raw: dict[str, Any] = plan.model_dump(mode="json", exclude_none=True)
    raw["seeds"] = [42]
    for source in raw["data"]:
        source["prepare"]["size"] = [16, 16]
    raw["model"] |= {"width": 4, "stem": "small"}
    raw["train"]["epochs"] = 1
    raw["methods"].get("SalUn", {})["epochs"] = 1
    for stage in raw["methods"].values():
        stage |= {name: float("inf") for name in ("ceiling", "clip") if name in stage}  # no number in JSON
    return parse_plan(raw, arm)


def run_small(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *arms: str) -> Results:
    monkeypatch.chdir(folder)
    plans = read_plan(PLANS / name)
    return run({arm: made_small(plan, arm) for arm, plan in plans.items() if arm in arms or not arms}, folder / "out")


def counted(results: Results, arm: str, part: str) -> int:
    request = next(one for one in results.requests if one.arm == arm)
    return sum(request.faces.get(part, {}).values())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mufac_as_published_and_by_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mufac_folder(tmp_path / "data" / "mufac")
    results = run_small("mufac.toml", tmp_path, monkeypatch)
    assert counted(results, "as published", "forget") == 1500
    assert counted(results, "as published", "retain") == 48 * 35 - 1500
    assert counted(results, "as published", "public") == 0
    assert counted(results, "as published", "strangers") == 12 * 40
    merged = "merged people, family by family"
    assert counted(results, merged, "strangers") == 8 * 40
    assert counted(results, merged, "public") == 4 * 40
    assert counted(results, merged, "forget") == 7 * 35
    people = next(request.people for request in results.requests if request.arm == merged)
    assert sum(people["forget"].values()) == 7
    warned = {request.arm: " ".join(request.warnings) for request in results.requests}
    assert "trained on the non-members" in warned["as published"]
    assert "first 1,500 photos" in warned["as published"]
    assert "non-members" not in warned[merged]
    assert "1,500" not in warned[merged]
    assert {"SCRUB", "PIU-FR stage 2", "GLI"} <= {one.method for one in results.evaluations}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mucac_all_three_and_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mucac_folder(tmp_path / "data" / "mucac")
    results = run_small("mucac.toml", tmp_path, monkeypatch, "all three, as published", "sex, clean")
    for arm in ("all three, as published", "sex, clean"):
        assert counted(results, arm, "test") == 80
        assert counted(results, arm, "forget") == 2 * (40 + 30)
        assert counted(results, arm, "retain") == 2 * (40 + 25)
    assert counted(results, "all three, as published", "strangers") == 90
    assert counted(results, "sex, clean", "public") == counted(results, "sex, clean", "strangers") - 2 == 44
    classes = {request.arm: request.classes for request in results.requests}
    assert classes == {"all three, as published": ["Male", "Smiling", "Young"], "sex, clean": ["0", "1"]}


@pytest.mark.slow
def test_jaffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jaffe_folder(tmp_path / "data" / "jaffe")
    results = run_small("jaffe.toml", tmp_path, monkeypatch)
    people = {part: sum(counts.values()) for part, counts in results.requests[0].people.items()}
    assert people == {"forget": 2, "retain": 4, "public": 1, "strangers": 1, "test": 2}
    assert results.requests[0].image_shape == (1, 16, 16)
    assert len(results.requests[0].classes) == 7
