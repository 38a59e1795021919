"""What a number measures, in parts: the family of the measure, its metric, split, group, baseline and level.

A `MeasureKey` is also its own text (`accuracy/test/all`, `increase/mse/against original/B`), which is how plans and
`results.json` name it: code reads the parts, people read the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import core_schema

Concerns = Literal["forgotten", "others", "by split"]
"""Of whom a family speaks: those who asked to be forgotten, everybody else, or whoever the split says."""


@dataclass(frozen=True)
class Family:
    """One family of measures: the texts of its keys, and what they mean."""

    patterns: tuple[str, ...]
    about: str
    concerns: Concerns = "forgotten"


FAMILIES: Mapping[str, Family] = {
    "score": Family(
        ("{metric}/{split}/{group}",), "mean of a task's score over the faces of a split and group", "by split"
    ),
    "membership": Family(
        ("membership/{metric}/{level}",),
        "membership inference by the task's signal alone: the forgotten against strangers (non-members) of their "
        "groups, per photo and per person",
    ),
    "attack": Family(
        ("attack/{metric}/against {against}/{level}", "attack/{metric}/{level}"),
        "with an audit: auc, balanced_accuracy, tpr_at_1%_fpr and tpr_at_0.1%_fpr of every attack (each signal, "
        "logistic, forest, rmia, lira, u-lira), and the auc's advantage over the same attack on the reference; 'auc "
        "over shadows' is of a procedure, not of one model; 'auc of the reference': a row's u-lira on the reference",
    ),
    "completeness": Family(("completeness",), "with an audit: how far each forgotten face went, by shadow models"),
    "epsilon": Family(
        ("epsilon/{metric}",),
        "with an audit: what any threshold on a face could show, its floor, and the NeurIPS 2023 challenge's score",
    ),
    "distance": Family(
        ("distance/{metric}/{split}", "distance/{metric}"),
        "how far from the retrained reference: tow, tow_mia, avg_gap, wasserstein, nearer and its p-value; js, kl, "
        "activation, agreement (classes), answers (points), cka, neighbours (embeddings)",
        "by split",
    ),
    "relearn": Family(
        ("relearn/{metric}/{split}", "relearn/{metric}"),
        "how fast the forgotten are known again: training steps, over the reference's (ain), and from 1 or 5 photos of "
        "each person (prototype, linear)",
        "by split",
    ),
    "confusion": Family(
        ("confusion/{split}",),
        "with forget.confuse: wrong labels still believed of the forgotten, the two classes confused on test faces",
        "by split",
    ),
    "misfiled": Family(
        ("misfiled/{metric}",),
        "with forget.misfile: held-back photos nearer to the one with whom they were mixed up (person, other), "
        "misfiled photos nearer to the name they were filed under (photos), and the cosine left between the two (pull)",
    ),
    "forgotten": Family(
        ("forgotten/{metric}",),
        "how far the signal on the forgotten went from the original's to the reference's, in percent and as a gap",
    ),
    "reversal": Family(
        ("reversal/{metric}/{group}",),
        "requests in rounds: error and attack AUC of those who were asked for in one round, measured again after every "
        "later one (forgetting reversal)",
    ),
    "increase": Family(
        ("increase/{metric}/against {against}/{group}",),
        "growth of a group's test error, in percent, against the original, the reference or the stage before",
        "others",
    ),
    "harm of forgetting": Family(
        ("harm of forgetting/{metric}/{group}",),
        "that growth's first part: what the retrained reference has, in percent of the original's error",
        "others",
    ),
    "harm of method": Family(
        ("harm of method/{metric}/{group}",), "its second part: what the method added beyond the reference", "others"
    ),
    "disparity_points": Family(
        ("disparity_points/{metric}/against {against}",),
        "the forgotten group's increase minus everyone else's, in percentage points",
        "others",
    ),
    "disparity_ratio": Family(
        ("disparity_ratio/{metric}/against {against}",), "the same as a ratio, where everyone else's grew", "others"
    ),
    "fairness": Family(
        ("fairness/{metric}",),
        "the worst group's error, over the geometric mean (NIST), minus the best's; equalised odds difference; "
        "accuracy in the forgotten's group (GA)",
        "others",
    ),
    "intersection": Family(("intersection/{metric}/{group}",), "error by group and trait (data.also_by)", "others"),
    "intersection increase": Family(
        ("intersection increase/{metric}/against {against}/{group}",), "its growth against the original", "others"
    ),
    "intersection harm of method": Family(
        ("intersection harm of method/{metric}/{group}",), "what the method added to it", "others"
    ),
    "fmr": Family(("fmr/{group}",), "recognition: false match rate at one threshold for all groups", "others"),
    "fnmr": Family(("fnmr/{group}",), "recognition: false non-match rate at the same threshold", "others"),
    "memorisation": Family(
        ("memorisation/{metric}",), "with lookalikes: how well a layer's neighbours tell who was trained on"
    ),
    "benchmark": Family(
        ("benchmark/{metric}",),
        "classes and attributes: MUFAC's attack by logistic regression on losses, its forgetting score with the floor "
        "for so many faces, NoMUS; JS of the losses",
    ),
    "head": Family(
        ("head/{metric}/{split}", "head/{metric}"),
        "recognition: accuracy, UES and CURE's other measures through the model's own head",
        "by split",
    ),
    "fresh head": Family(
        ("fresh head/{metric}/{split}", "fresh head/{metric}"), "the same through a head fitted anew", "by split"
    ),
    "rows deleted": Family(
        ("rows deleted/{metric}/{split}", "rows deleted/{metric}"),
        "the same with the forgotten's rows deleted from the head",
        "by split",
    ),
    "identification": Family(
        ("identification/{metric}/{split}",),
        "recognition: the forgotten, the retained and strangers found again by held-back photos (rank1, "
        "tar_at_RATE_far)",
        "by split",
    ),
    "verification": Family(
        ("verification/{group}/{metric}",),
        "pairs of photos told apart by the 10-fold protocol, a set by its name; by quality where it is known",
        "others",
    ),
    "measure": Family(
        ("measure/{metric}/{split}/{group}", "measure/{metric}/{split}", "measure/{metric}"),
        "measures of your own, by their names in the table of evaluation/evaluate.py",
        "by split",
    ),
    "weights": Family(("weights/{metric}",), "how much of the network changed: share, distance, layer by layer"),
}
"""Every family, by its name."""

ALL = "all"
"""The group of everybody."""
SPLITS = ("forget", "forget_unseen", "retain", "retain_unseen", "public", "val", "strangers", "test")
FIELDS: Mapping[str, str] = {
    "metric": r"(?P<metric>.+?)",
    "split": rf"(?P<split>{'|'.join(sorted(SPLITS, key=len, reverse=True))})",
    "group": r"(?P<group>.+)",
    "against": r"(?P<against>original|reference|stage before)",
    "level": r"(?P<level>photo|person)",
}
"""What each part of a text may be."""

RENAMED: tuple[tuple[str, str], ...] = (
    (r"lookalikes(/[^/]+/.+)", r"impostor_rate\1"),
    (
        r"((?:increase|price|intersection|disparity_points|disparity_ratio|fairness)/)lookalikes(/.+)",
        r"\1impostor_rate\2",
    ),
    (r"attack/(.+)/auc beyond reference/(photo|person)", r"attack/\1/auc/against reference/\2"),
    (r"attack/(.+)/auc of the way/photo", r"attack/\1/auc over shadows/photo"),
    (r"price/(.+?)/of (forgetting|method)/(.+)", r"harm of \2/\1/\3"),
    (r"intersection/(.+?)/error/(.+)", r"intersection/\1/\2"),
    (r"intersection/(.+?)/against original/(.+)", r"intersection increase/\1/against original/\2"),
    (r"intersection/(.+?)/of method/(.+)", r"intersection harm of method/\1/\2"),
    (r"(fmr|fnmr)/max over geomean", r"fairness/\1/max over geomean"),
    (r"distance/nearer, p", r"distance/nearer/p"),
    (r"confusion/forgotten", r"confusion/forget"),
    (r"(rank1|tar_at_[^/]+)/([a-z_]+)", r"identification/\1/\2"),
)
"""Texts of `efface.results/1` and what they became, applied one after the other."""


class MeasureKey(str):
    """The name of a measure and its parts; equal to its text.

    >>> key = MeasureKey("increase", "mse", against="original", group="B")
    >>> key
    'increase/mse/against original/B'
    >>> MeasureKey.parse("accuracy/test/all").split_name
    'test'
    """

    family: str
    metric: str
    split_name: str
    """Of the faces measured: a split, or "" where a measure is of a model as a whole."""
    group: str
    against: str
    """What is compared with: original, reference or stage before."""
    level: str
    """Of an attack: photo or person."""

    def __new__(
        cls, family: str, metric: str = "", *, split: str = "", group: str = "", against: str = "", level: str = ""
    ) -> MeasureKey:
        """Raises ValueError for a family that does not exist, or parts that it does not have."""
        parts = {"metric": metric, "split": split, "group": group, "against": against, "level": level}
        given = {name for name, part in parts.items() if part}
        for pattern in FAMILIES[family].patterns if family in FAMILIES else ():
            if given == set(re.findall(r"{(\w+)}", pattern)):
                key = super().__new__(cls, pattern.format(**parts))
                key.family, key.metric, key.split_name = family, metric, split
                key.group, key.against, key.level = group, against, level
                return key
        raise ValueError(f"no measure of family '{family}' has the parts {sorted(given)}")

    def __getnewargs_ex__(self) -> tuple[tuple[str, str], dict[str, str]]:
        parts = self.parts()
        return (parts.pop("family"), parts.pop("metric")), parts

    def parts(self) -> dict[str, str]:
        """All parts by their names, as `MeasureKey` takes them."""
        return {
            "family": self.family,
            "metric": self.metric,
            "split": self.split_name,
            "group": self.group,
            "against": self.against,
            "level": self.level,
        }

    @classmethod
    def parse(cls, text: str) -> MeasureKey:
        """The key of this text, which may be one of an earlier version; ValueError where there is none."""
        for old, new in RENAMED:
            text = re.sub(rf"^{old}$", new, text)
        family = text.partition("/")[0]
        for pattern in FAMILIES[family if family in FAMILIES else "score"].patterns:
            if found := re.fullmatch(_expression(pattern), text):
                parts: dict[str, Any] = found.groupdict()
                return cls(family if family in FAMILIES else "score", **parts)
        raise ValueError(f"'{text}' names no measure")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        def validated(given: Any) -> MeasureKey:
            if isinstance(given, cls):
                return given
            if not isinstance(given, str):
                raise ValueError(f"{given!r} names no measure")
            return cls.parse(given)

        return core_schema.no_info_plain_validator_function(
            validated, json_schema_input_schema=core_schema.str_schema()
        )

    @property
    def concerns_others(self) -> bool:
        """Whether it is about people who did not ask to be forgotten."""
        concerns = FAMILIES[self.family].concerns
        return concerns == "others" or (concerns == "by split" and self.split_name.startswith(("test", "retain")))


def _expression(pattern: str) -> str:
    """The regular expression of a family's pattern."""
    literal, *rest = re.split(r"{(\w+)}", pattern)
    return re.escape(literal) + "".join(
        FIELDS[part] if place % 2 == 0 else re.escape(part) for place, part in enumerate(rest)
    )
