"""LFW: press photos of public figures, many of some people, one of most.

Huang et al., Labeled Faces in the Wild, UMass Amherst 2007. Layout: `name/name_0001.jpg`, at best in `photos/`
(250x250 as published) or `aligned/` (112x112), with `landmarks_250px.csv` beside. For research, no formal licence;
offered by the authors at http://vis-www.cs.umass.edu/lfw/.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from efface.data.faces import EYES
from efface.data.names import normal
from efface.data.photos import Unusable, size_of
from efface.datasets.card import Card
from efface.datasets.folder import read_people, read_table
from efface.errors import InputError
from efface.files import read_lines

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="lfw",
    title="Labeled Faces in the Wild",
    licence="research use, no formal licence",
    home="http://vis-www.cs.umass.edu/lfw/",
    layout="name/name_0001.jpg, straight in the folder, in photos/ or in aligned/; landmarks_250px.csv beside if known",
    about="13,233 press photos of 5,749 public figures, sorted by person",
)

TREES = ["photos", "aligned"]
LANDMARKS = "landmarks_250px.csv"


def read(path: Path, *, attributes: Path | None = None) -> pd.DataFrame:
    """A row per photo; a person is a folder.

    Eye centres come from `landmarks_250px.csv`, in the tree or beside it, and only for photos of 250x250 pixels (the
    header of the first photo that can be read tells). The file names eyes by the subject, so nothing is swapped; a
    photo it does not name gets NaN. attributes: `lfw_attributes.txt` of Kumar et al. (ICCV 2009), whose scores become
    columns of 1 and 0, a person's mean score above zero or not; a person it does not name is "unknown".
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected {CARD.layout}")
    trees = [path / name for name in TREES if (path / name).is_dir()]
    if len(trees) > 1:
        raise InputError(f"{path} holds {' and '.join(TREES)}: say which, {' or '.join(map(str, trees))}")
    tree = trees[0] if trees else path
    table = read_people(tree)
    if attributes is not None:
        table = _with_attributes(table, attributes)
    for file in (tree / LANDMARKS, tree.parent / LANDMARKS):
        if file.is_file() and _are_as_published(table["path"]):
            return _with_eyes(table, file)
    return table


def _with_attributes(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The photos with what classifiers said of their people: predictions of 2009, not anybody's own word."""
    import pandas as pd

    lines = [line.rstrip() for line in read_lines(file, "data.attributes")]
    head = next((line for line in lines if line.startswith("#") and "\tperson\timagenum\t" in line), None)
    if head is None:
        raise InputError(
            f'data.attributes {file} has no line "#  person  imagenum  ..." with the attributes\' names: '
            "expected lfw_attributes.txt, its words separated by tabs"
        )
    names = [name.strip().replace(" ", "_") for name in head.split("\t")[3:]]
    if len({*names, *table.columns}) < len(names) + len(table.columns):
        raise InputError(f"data.attributes {file} names an attribute twice, or calls one {', '.join(table.columns)}")
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    for row in rows:
        if len(row) != len(names) + 2:
            raise InputError(
                f"data.attributes {file}: the line of '{row[0]}' has {len(row) - 2} scores: expected {len(names)}"
            )
    scores = pd.DataFrame([row[2:] for row in rows], columns=names).apply(pd.to_numeric, errors="coerce")
    of = scores.groupby([normal(row[0]).replace(" ", "_") for row in rows]).mean()
    people = table["person"].map(normal)
    known = of.gt(0).astype(int).astype(str).reindex(people).fillna("unknown").reset_index(drop=True)
    return table.reset_index(drop=True).join(known)


def _are_as_published(paths: Iterable[str]) -> bool:
    """Whether the first photo that can be read has 250x250 pixels."""
    for path in paths:
        with suppress(Unusable):
            return size_of(Path(path)) == (250, 250)
    return False


def _with_eyes(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The photos with the eye centres that a landmark file gives them."""
    import pandas as pd

    points = read_table(file, ["path", *(f"{side}_eye_{axis}" for side in ("left", "right") for axis in "xy")])
    points = points.set_index(points["path"].str.rsplit(".", n=1).str[0])
    if points.index.has_duplicates:
        raise InputError(f"{file} names '{points.index[points.index.duplicated()][0]}' twice: which is meant?")
    eyes = (
        points[[f"{name[:-2]}_eye_{name[-1]}" for name in EYES]]
        .apply(pd.to_numeric, errors="coerce")
        .reindex(table["key"])
    )
    return table.assign(**{name: eyes.iloc[:, column].to_numpy() for column, name in enumerate(EYES)})
