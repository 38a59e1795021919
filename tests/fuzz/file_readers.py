"""Every reader of a file in this project, with a small valid file for it: a new reader is one line in `READERS`."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from efface.data.groups import predicted
from efface.data.pairs import read_bin, read_pairs
from efface.data.photos import load
from efface.data.quality_scores import read_scores
from efface.data.recordio import read_record
from efface.data.split import listed
from efface.datasets import READERS as DATASETS
from efface.datasets import lfw
from efface.erasure.architecture import network_of
from efface.erasure.checkpoint import open_checkpoint, write_checkpoint
from efface.erasure.find import read_accepted
from efface.erasure.fit_head import Sums
from efface.erasure.fit_head import _read as read_sums
from efface.errors import InputError
from efface.experiment.resolve import resolve
from efface.experiment.search import read_search
from efface.files import save_columns
from efface.methods.exact_head import ridge_sums
from efface.models import MODELS
from efface.models.load import load_weights, recorded_network, save_weights, start_from
from efface.plan.file import read_plan
from efface.plan.tables import user_code
from efface.preparation.packed import IMAGES, LABELS, MANIFEST, _own_sha256, open_packed, write_packed
from efface.report.saved import read as read_saved
from efface.testing.layouts import picture_file, write_bin, write_celeba_hq, write_mufac, write_rec

Kind = Literal["text", "json", "binary"]


@dataclass(frozen=True)
class Reader:
    """How a file is read, and what a valid one looks like."""

    name: str
    make: Callable[[Path], None]
    """Writes valid files into an empty folder."""
    read: Callable[[Path], object]
    """Reads them; what it returns is the same for the same content."""
    mutable: tuple[str, ...]
    """Patterns of those that are mutated."""
    kind: Kind = "text"


def words(name: str, text: str) -> Callable[[Path], None]:
    """Makes one text file."""

    def make(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8", newline="")

    return make


def photos(folder: Path, *names: str) -> None:
    """Small photos under these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 10)).save(folder / name, "JPEG")


IMAGES_OF_SIX = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
KEYS = pd.Series([f"Ann/Ann_000{number}" for number in range(1, 5)])

PLAN = """# A plan with most of what a plan may say.
task = "eyes"
goal = "influence removed"
seeds = [0, 1]
data = [
  { name = "synthetic", people = 60, photos_per_person = 3, size = [24, 24], only = { age = ["20-29", "30-39"] } },
  { name = "packed", path = "faces", group_where = { race = ["East Asian"] }, per_person = 3 },
]
forget = { group = "B", people = 5, skew = [0.5, 1.0], rounds = 2 }
split = { public = 0.1, val = 0.1, strangers = 0.2, test = 0.2, seed = 3 }
model = { name = "eyenet", widths = [4, 6, 8], hidden = 16 }
train = { epochs = 3, lr = 1e-3, milestones = [1, 2] }
[accept]
"mse/test/all" = { at_most = 3.5 }
[methods.finetune]
epochs = 1
[methods.ascent]
use = "neggrad"
ceiling = inf
search = { lr = [1e-4, 1e-3] }
[methods."ascent, rebalanced"]
use = "rebalance"
after = "ascent"
[arms.one]
[arms.two]
seeds = [4]
audit = { shadows = 4, relearn = true }
accept = { "attack/loss/auc/photo" = { within = 0.1 } }
"""


def read_whole_plan(folder: Path) -> object:
    """A plan with every name looked up, but for code of somebody's own."""
    plans = read_plan(folder / "plan.toml")
    return {name: resolve(plan, name).filled() for name, plan in plans.items() if not user_code(plan)}


def small_network() -> nn.Module:
    return MODELS["iresnet"]((3, 16, 16), 3, depth=10, width=2, dimensions=4)


RECORD = {
    "task": "recognition",
    "model": "iresnet",
    "model_settings": {"depth": 10, "width": 2, "dimensions": 4},
    "shape": [3, 16, 16],
    "classes": 3,
    "seconds": 1.5,
}


@cache
def weights_file() -> bytes:
    with TemporaryDirectory() as folder:
        save_weights(small_network(), Path(folder) / "net.safetensors", RECORD)
        return (Path(folder) / "net.safetensors").read_bytes()


def read_weights_file(path: Path) -> object:
    """Weights loaded as a plan's, as what training starts from, and as the network that their record describes."""
    load_weights(small_network(), path)
    start_from(small_network(), path)
    return numbers_of(recorded_network(path) if path.suffix == ".safetensors" else small_network())


def write_back(path: Path) -> object:
    """The weights of a file found, its network recognised, and other weights written into it."""
    found = open_checkpoint(path, network_of(path, None, (3, 16, 16)))
    other = {name: torch.zeros_like(tensor) for name, tensor in found.weights.items()}
    out = path.with_name("out")
    write_checkpoint(found, other, out, emptied_rows={head: [0] for head in found.heads})
    out.unlink()
    return sorted(found.weights)


def numbers_of(model: nn.Module) -> list[str]:
    return sorted(model.state_dict())


def make_safetensors(folder: Path) -> None:
    (folder / "net.safetensors").write_bytes(weights_file())


def make_header(folder: Path) -> None:
    """The header of a safetensors file and the rest, apart."""
    length = struct.unpack("<Q", weights_file()[:8])[0]
    (folder / "header.json").write_bytes(weights_file()[8 : 8 + length].rstrip())
    (folder / "rest").write_bytes(weights_file()[8 + length :])


def read_header(folder: Path) -> object:
    header = (folder / "header.json").read_bytes()
    path = folder / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + (folder / "rest").read_bytes())
    return read_weights_file(path)


def make_record(folder: Path) -> None:
    (folder / "record.json").write_text(json.dumps(RECORD))


def read_record_of_weights(folder: Path) -> object:
    path = folder / "net.safetensors"
    record = (folder / "record.json").read_bytes().decode("utf-8", "replace")
    path.write_bytes(save(small_network().state_dict(), {"efface": record}))
    return numbers_of(recorded_network(path))


def make_checkpoint(zipped: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        held = {
            "epoch": 3,
            "state_dict": small_network().state_dict(),
            "best": np.float64(0.5),
            "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        }
        torch.save(held, folder / "net.pth", _use_new_zipfile_serialization=zipped)

    return make


def make_checkpoint_pickle(folder: Path) -> None:
    """The pickle inside a checkpoint, apart from the archive whose checksums would betray every change."""
    make_checkpoint(zipped=True)(folder)
    with zipfile.ZipFile(folder / "net.pth") as archive:
        (folder / "data.pkl").write_bytes(archive.read("net/data.pkl"))


def read_checkpoint_pickle(folder: Path) -> object:
    changed = folder / "changed.pth"
    with zipfile.ZipFile(folder / "net.pth") as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, (folder / "data.pkl").read_bytes() if name.endswith("data.pkl") else archive.read(name))
    return write_back(changed), read_weights_file(changed)


def make_pickles(folder: Path) -> None:
    """Verification sets as different programs pickle them."""
    files = [picture_file(image) for image in IMAGES_OF_SIX[:4]]
    arrays = [np.frombuffer(one, np.uint8) for one in files]
    for name, held, protocol in (
        ("bytes", (files, [True, False]), 2),
        ("arrays", (arrays, np.array([True, False])), 4),
        ("pixels", ([one.transpose(1, 2, 0) for one in IMAGES_OF_SIX[:4]], [np.bool_(True), np.bool_(False)]), 5),
        ("text", (files, [1, 0]), 0),
    ):
        (folder / f"{name}.bin").write_bytes(pickle.dumps(held, protocol))
    write_bin(folder / "written.bin", IMAGES_OF_SIX[:4], [True, False])


def read_each(paths: Iterable[Path], read: Callable[[Path], object]) -> list[object]:
    """What is read of each file; the first refusal, once all were read."""
    found, refused = [], []
    for path in sorted(paths):
        try:
            found.append(read(path))
        except InputError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return found


def read_pickles(folder: Path) -> object:
    return read_each(folder.glob("*.bin"), lambda path: read_bin(path, (8, 8))[0].tolist())


def make_packed(folder: Path) -> None:
    table = pd.DataFrame({"key": list("abcdef"), "person": list("xxyyzz"), "age": [1, 2, 3, 4, 5, 6], "left_x": 2.5})
    about = {"name": "test", "title": "", "licence": "", "home": ""}
    write_packed(folder / "faces", [IMAGES_OF_SIX], table, shape=(3, 16, 16), about=about)


def read_packed(folder: Path) -> object:
    """A packed folder as it is, and with checksums that are right whatever was changed."""
    faces = folder / "faces"
    with suppress(InputError):
        open_packed(faces)
    try:
        manifest = json.loads((faces / MANIFEST).read_bytes())
        manifest["sha256"] = {name: sha256((faces / name).read_bytes()).hexdigest() for name in (IMAGES, LABELS)}
        manifest.pop("manifest_sha256", None)
        manifest["manifest_sha256"] = _own_sha256(manifest)
        (faces / MANIFEST).write_text(json.dumps(manifest))
    except (ValueError, TypeError, RecursionError):
        pass
    opened = open_packed(faces)
    return [np.asarray(opened.images).tolist(), table_of(opened.table)]


def table_of(table: pd.DataFrame) -> object:
    """A table as plain data; where its photos lie aside."""
    return table.drop(columns="path", errors="ignore").astype(str).to_dict("list")


def dataset(name: str, **settings: Any) -> Callable[[Path], object]:
    """Reads a folder as that dataset, and what is beside it."""
    return lambda folder: table_of(DATASETS[name].read(folder, **settings))


def make_celeba(folder: Path) -> None:
    photos(folder / "img_align_celeba", "000001.jpg", "000002.jpg")
    words("identity_CelebA.txt", "000001.jpg 2880\n000002.jpg 17\n")(folder)
    words("list_attr_celeba.txt", "2\nSmiling Young\n000001.jpg -1  1\n000002.jpg  1 -1\n")(folder)
    words("list_eval_partition.txt", "000001.jpg 0\n000002.jpg 2\n")(folder)
    head = (
        "2\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y\n"
    )
    lines = "000001.jpg 1 2 3 4 5 6 7 8 9 10\n000002.jpg 2 3 4 5 6 7 8 9 10 11\n"
    words("list_landmarks_align_celeba.txt", head + lines)(folder)


def make_celeba_hq(folder: Path) -> None:
    values = np.array([[-1, 1], [1, -1], [1, 1]])
    write_celeba_hq(folder, IMAGES_OF_SIX[:3], [5, 1300, 5000], values, ["Smiling", "Young"])


def make_mufac(folder: Path) -> None:
    parts = {part: [("F0001", "D", "a"), ("F0002", "M", "h")] for part in ("train", "val", "test")}
    write_mufac(folder, dict.fromkeys(parts, IMAGES_OF_SIX[:2]), parts)


def make_lfw(folder: Path) -> None:
    for number in (1, 2):
        (folder / "photos" / "Ann_Lee").mkdir(parents=True, exist_ok=True)
        Image.new("L", (250, 250)).save(folder / "photos" / "Ann_Lee" / f"Ann_Lee_000{number}.jpg")
    head = "path,right_eye_x,right_eye_y,left_eye_x,left_eye_y\n"
    lines = "Ann_Lee/Ann_Lee_0001.jpg,98.5,111.5,146.8,111.6\nAnn_Lee/Ann_Lee_0002.jpg,98,111,146,111\n"
    words("landmarks_250px.csv", head + lines)(folder)
    rows = "Ann Lee\t1\t-2.0\t0.5\nAnn Lee\t2\t1.5\t0.5\n"
    words("lfw_attributes.txt", f"# lfw_attributes.txt\n#\tperson\timagenum\tMale\tSoft Light\n{rows}")(folder)


def make_head_sums(folder: Path) -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(6, 2)).astype(np.float32), rng.normal(size=(6, 1))
    about = np.array(json.dumps({"kind": "numbers", "model": "0" * 64}))
    pictures, people = np.zeros((6, 16), np.uint8), np.array(list("aabbcc"))
    summed = ridge_sums(features, targets, 1.0)
    made = Sums(about, np.array(["age"]), people, pictures, targets, features, **vars(summed))
    save_columns(made, folder / "sums.npz")


def make_bioid(folder: Path) -> None:
    photos(folder, "BioID_0000.pgm", "BioID_0001.pgm")
    for number in (0, 1):
        words(f"BioID_000{number}.eye", f"#LX\tLY\tRX\tRY\n232\t11{number}\t161\t110\n")(folder)


def make_fairface(folder: Path) -> None:
    head = "file,age,gender,race,service_test\n"
    words(
        "fairface_label_train.csv",
        f"{head}train/1.jpg,20-29,Male,East Asian,True\ntrain/2.jpg,3-9,Female,White,False\n",
    )(folder)
    words("fairface_label_val.csv", f"{head}val/1.jpg,more than 70,Female,Black,True\n")(folder)


MANIFEST_TABLE = pd.DataFrame(
    {"path": ["a/1.jpg", "a/2.jpg"], "person": ["Ann", "Bo"], "left_x": [1.5, 2.0], "group": ["x", "y"]}
)


def make_points(folder: Path, *lists: str) -> None:
    for name in lists:
        lines = [f"lfw_5590\\{name} {place}.jpg {' '.join('123456789'[:9])} 12 1 2 1 3" for place in (1, 2)]
        words(name, "\n".join(lines) + "\n")(folder)


def read_records(folder: Path) -> object:
    table = DATASETS["insightface"].read(folder)
    for place in table["path"]:
        path, offset = place.rsplit("@", 1)
        read_record(Path(path), int(offset))
    return table_of(table)


@cache
def finished_run() -> dict[str, bytes]:
    """What a run leaves that is read again."""
    from efface.experiment.run import run
    from efface.plan.tables import Plan

    plan = Plan.model_validate(
        {
            "task": "eyes",
            "goal": "influence removed",
            "data": {"name": "synthetic", "people": 40, "photos_per_person": 2, "size": [16, 16]},
            "forget": {"share": 0.3},
            "model": {"name": "eyenet", "widths": [2, 3, 4], "hidden": 4},
            "train": {"epochs": 1},
            "methods": {"finetune": {"epochs": 1, "search": {"lr": [1e-4, 1e-3]}}},
            "accept": {"mse/test/all": {"at_most": 9.0}},
        }
    )
    with TemporaryDirectory() as out:
        run({"": plan}, Path(out), device="cpu", threads=1)
        (search,) = Path(out).glob("searches/*.json")
        results = json.loads((Path(out) / "results.json").read_bytes())
        del results["digest"]  # which would betray every change, before anything else is looked at
        return {"results.json": json.dumps(results).encode(), "search.json": search.read_bytes()}


def from_run(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(finished_run()[name])

    return make


def make_photos(folder: Path) -> None:
    picture = Image.fromarray(IMAGES_OF_SIX[0].transpose(1, 2, 0))
    for kind in ("jpeg", "png", "tiff", "webp", "bmp", "ppm", "gif"):
        picture.save(folder / f"photo.{kind}")


def read_photos(folder: Path) -> object:
    return read_each(folder.iterdir(), lambda path: np.asarray(load(path, upright=True)).tolist())


def parquet(folder: Path) -> None:
    MANIFEST_TABLE.to_parquet(folder / "manifest.parquet")


READERS = {
    reader.name: reader
    for reader in (
        Reader("plan", words("plan.toml", PLAN), read_whole_plan, ("plan.toml",)),
        Reader(
            "people",
            words("people.txt", "Ann\nBo Lee\nCyd\n"),
            lambda folder: listed(folder / "people.txt", np.array(["Ann", "Bo Lee", "Cyd", "Dan"]), {}).tolist(),
            ("people.txt",),
        ),
        Reader(
            "pairs",
            words("pairs.txt", "2\t2\n" + 2 * ("Ann\t1\t2\nBo Lee\t2\t3\nAnn\t1\tBo Lee\t3\nAnn\t3\tCyd\t1\n")),
            lambda folder: [column.tolist() for column in vars(read_pairs(folder / "pairs.txt")).values()],
            ("pairs.txt",),
        ),
        Reader(
            "groups",
            words(
                "groups.csv",
                "key,group,score\n" + "".join(f"{key},{place % 2},0.5\n" for place, key in enumerate(KEYS)),
            ),
            lambda folder: predicted(folder / "groups.csv", KEYS).tolist(),
            ("groups.csv",),
        ),
        Reader(
            "quality",
            words("quality.csv", "key,person,score,pixels\n" + "".join(f"{key},Ann,0.{len(key)},1\n" for key in KEYS)),
            lambda folder: read_scores(folder / "quality.csv", "score"),
            ("quality.csv",),
        ),
        Reader(
            "candidates",
            words("candidates.csv", "row,path,score,accept\n2,/photos/a.jpg,0.9,yes\n3,/photos/b.jpg,0.1,no\n"),
            lambda folder: read_accepted(folder / "candidates.csv"),
            ("candidates.csv",),
        ),
        Reader("head", make_head_sums, lambda folder: read_sums(folder)[1], ("sums.npz",), "binary"),
        Reader("bioid", make_bioid, dataset("bioid"), ("*.eye",)),
        Reader("celeba", make_celeba, dataset("celeba"), ("*.txt",)),
        Reader("celeba_hq", make_celeba_hq, dataset("celeba_hq"), ("*.txt",)),
        Reader("cuhk", lambda folder: make_points(folder, "trainImageList.txt"), dataset("cuhk"), ("*.txt",)),
        Reader("mtfl", lambda folder: make_points(folder, "training.txt", "testing.txt"), dataset("mtfl"), ("*.txt",)),
        Reader("fairface", make_fairface, dataset("fairface"), ("*.csv",)),
        Reader("mufac", make_mufac, dataset("mufac"), ("*.csv",)),
        Reader(
            "lfw",
            make_lfw,
            lambda folder: table_of(lfw.read(folder, attributes=folder / "lfw_attributes.txt")),
            ("*.csv", "*.txt"),
        ),
        Reader(
            "manifest",
            lambda folder: MANIFEST_TABLE.to_csv(folder / "manifest.csv", index=False),
            dataset("folder"),
            ("manifest.csv",),
        ),
        Reader("parquet", parquet, dataset("folder"), ("manifest.parquet",), "binary"),
        Reader(
            "index",
            lambda folder: write_rec(folder, IMAGES_OF_SIX, [0, 0, 1, 1, 2, 2]),
            read_records,
            ("*.idx", "property"),
        ),
        Reader(
            "records",
            lambda folder: write_rec(folder, IMAGES_OF_SIX, [0, 0, 1, 1, 2, 2]),
            read_records,
            ("*.rec",),
            "binary",
        ),
        Reader("labels", make_packed, read_packed, ("faces/labels.csv",)),
        Reader("packed manifest", make_packed, read_packed, ("faces/manifest.json",), "json"),
        Reader("packed images", make_packed, read_packed, ("faces/images.npy",), "binary"),
        Reader("verification set", make_pickles, read_pickles, ("*.bin",), "binary"),
        Reader(
            "safetensors",
            make_safetensors,
            lambda folder: read_weights_file(folder / "net.safetensors"),
            ("net.safetensors",),
            "binary",
        ),
        Reader("safetensors header", make_header, read_header, ("header.json",), "json"),
        Reader("record of weights", make_record, read_record_of_weights, ("record.json",), "json"),
        Reader(
            "checkpoint",
            make_checkpoint(True),
            lambda folder: read_weights_file(folder / "net.pth"),
            ("net.pth",),
            "binary",
        ),
        Reader(
            "old checkpoint",
            make_checkpoint(False),
            lambda folder: read_weights_file(folder / "net.pth"),
            ("net.pth",),
            "binary",
        ),
        *(
            Reader(
                f"{name} written back", make, lambda folder: write_back(next(folder.iterdir())), ("net.*",), "binary"
            )
            for name, file, make in (
                ("checkpoint", "net.pth", make_checkpoint(True)),
                ("old checkpoint", "net.pth", make_checkpoint(False)),
                ("safetensors", "net.safetensors", make_safetensors),
            )
        ),
        Reader("pickle of a checkpoint", make_checkpoint_pickle, read_checkpoint_pickle, ("data.pkl",), "binary"),
        Reader(
            "results",
            from_run("results.json"),
            lambda folder: read_saved(folder).signature,
            ("results.json",),
            "json",
        ),
        Reader(
            "search",
            from_run("search.json"),
            lambda folder: [one.model_dump() for one in read_search(folder / "search.json")],
            ("search.json",),
            "json",
        ),
        Reader("photo", make_photos, read_photos, ("photo.*",), "binary"),
    )
}
"""By name."""
