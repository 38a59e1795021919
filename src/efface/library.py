"""The library: what `import efface` offers for models and data of one's own, and for plans.

Data are `Faces`, or anything with a length whose items are (image, target[, person[, group]]): a list, or a torch
`Dataset`. An image is (c, h, w), uint8 or float between 0 and 1; person is who it shows (default: everybody is somebody
else); group is a demographic group (default: unknown).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from efface.audit.assess import assess
from efface.data.batches import BatchLoader
from efface.data.faces import Faces, MethodData, Splits, joined
from efface.data.own import AnyFaces, faces_from
from efface.errors import InputError, nearest
from efface.evaluation.evaluate import Scored, score_faces
from efface.evaluation.predict import predict
from efface.methods import METHODS, Method, tasks_of, works_on
from efface.models.normalisation import allow_lone_faces
from efface.models.precision import in_precision
from efface.settings import AskedPrecision, validated
from efface.tasks import Task, task_named
from efface.training.environment import deterministic_torch, device_named, precision_on
from efface.user_code import function_named

if TYPE_CHECKING:
    from efface.measure_key import MeasureKey
    from efface.measures.bootstrap import Measure
    from efface.results import Results

SPLITS = tuple(Splits.__dataclass_fields__)


def run(plan: Path | str | Mapping[str, Any], out: Path | str, *, device: str = "auto", threads: int = 2) -> Results:
    """Run a plan, a TOML file or its tables as a mapping, into the folder `out`; `out/report.html` shows the results.

    Raises InputError, one line, for a plan that cannot be run.

    >>> import efface, tempfile
    >>> plan = {
    ...     "task": "eyes",
    ...     "goal": "influence removed",
    ...     "data": {"name": "synthetic", "people": 60, "photos_per_person": 2, "size": [24, 24]},
    ...     "forget": {"people": 4},
    ...     "model": {"name": "eyenet", "widths": [4, 6, 8], "hidden": 8},
    ...     "train": {"epochs": 2},
    ...     "methods": {"finetune": {"epochs": 1}},
    ... }
    >>> with tempfile.TemporaryDirectory() as out:
    ...     results = efface.run(plan, out)
    >>> [row.method for row in results.summaries]
    ['original', 'reference', 'finetune', 'constant prediction']
    """
    from efface.experiment.run import run as run_arms
    from efface.plan.file import parse_plan, read_plan

    arms = {"": parse_plan(dict(plan), "plan")} if isinstance(plan, Mapping) else read_plan(Path(plan))
    return run_arms(arms, Path(out), device=device, threads=threads)


def forget(
    model: nn.Module,
    *,
    task: str | Task,
    forget: AnyFaces,
    retain: AnyFaces,
    public: AnyFaces | None = None,
    method: str | Method = "scrub",
    seed: int = 0,
    device: str = "auto",
    precision: AskedPrecision = "fp32",
    **settings: Any,
) -> nn.Module:
    """A copy of a trained model that was made to forget `forget`; the model that is given stays as it is.

    task: a name of `efface list tasks`, "module:NAME" or a `Task`. retain: whom it must still know. public: people it
    was not trained on, for methods that need them. method: a name of `efface list methods`, "module:function" or a
    function of one's own. settings: the method's. The network takes float images in [-1, 1], (b, c, h, w).
    precision: what it computes with meanwhile, as in a plan; the copy that is returned computes with 32 bits.

    Raises InputError for data, names or settings that cannot be used.

    >>> import numpy as np, efface
    >>> from efface.models import MODELS
    >>> rng = np.random.default_rng(0)
    >>> photos = [
    ...     (rng.integers(0, 256, (1, 24, 24), dtype=np.uint8), [[15.0, 10.0], [8.0, 10.0]], f"person {n // 2}", "A")
    ...     for n in range(20)
    ... ]
    >>> model = MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=8)
    >>> after = efface.forget(model, task="eyes", forget=photos[:4], retain=photos[4:], method="finetune", epochs=1)
    >>> type(after).__name__
    'EyeNet'
    """
    known = task if isinstance(task, Task) else task_named(task)
    chosen = _method(method, known)
    values = validated(chosen, settings, f"method '{chosen.__name__}'")
    here = device_named(device)
    faces = _checked({"forget": forget, "retain": retain, "public": public}, known)
    copied = copy.deepcopy(model).to(here, memory_format=torch.channels_last)  # type: ignore[call-overload]
    allow_lone_faces(copied)
    in_precision(copied, precision_on(here, precision))
    original = copy.deepcopy(copied).requires_grad_(False).eval()
    data = MethodData(faces["forget"], faces["retain"], faces["public"], original=original)
    with deterministic_torch(here, torch.get_num_threads(), seed):
        after: object = chosen(copied, known, data, BatchLoader(here, seed), **values)
    if not isinstance(after, nn.Module):
        raise InputError(f"method '{chosen.__name__}' returned {after!r}: expected the network")
    return in_precision(after, "fp32")


def evaluate(
    model: nn.Module, *, task: str | Task, faces: Mapping[str, AnyFaces], device: str = "auto"
) -> dict[MeasureKey, Measure]:
    """Utility, fairness and membership attacks of one model, each with its 95% interval over people.

    faces: data by the name of a split; `forget` is needed, `strangers` (people nobody trained on) for attacks, `test`
    for utility by group. A measure is found by its text or as a `MeasureKey`.

    >>> import numpy as np, efface
    >>> from efface.models import MODELS
    >>> rng = np.random.default_rng(0)
    >>> photos = [
    ...     (rng.integers(0, 256, (1, 24, 24), dtype=np.uint8), [[15.0, 10.0], [8.0, 10.0]], f"person {n}", "A")
    ...     for n in range(60)
    ... ]
    >>> model = MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=8)
    >>> faces = {"forget": photos[:20], "strangers": photos[20:40], "test": photos[40:]}
    >>> found = efface.evaluate(model, task="eyes", faces=faces)
    >>> found["normalised_error/test/all"].aim
    'low'
    """
    return audit_models(model, model, task=task, faces=faces, device=device)


def audit_models(
    before: nn.Module,
    after: nn.Module,
    *,
    task: str | Task,
    faces: Mapping[str, AnyFaces],
    reference: nn.Module | None = None,
    device: str = "auto",
) -> dict[MeasureKey, Measure]:
    """Everything that can be measured of `after` beside `before`, whoever made them.

    reference: a model retrained without the forgotten, where there is one; what only such a model can tell is left out
    else. faces: as `evaluate` has them.

    >>> import numpy as np, efface
    >>> from efface.models import MODELS
    >>> rng = np.random.default_rng(0)
    >>> photos = [
    ...     (rng.integers(0, 256, (1, 24, 24), dtype=np.uint8), [[15.0, 10.0], [8.0, 10.0]], f"person {n}", "A")
    ...     for n in range(60)
    ... ]
    >>> one, other = (MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=8) for _ in range(2))
    >>> faces = {"forget": photos[:20], "strangers": photos[20:40], "test": photos[40:]}
    >>> found = efface.audit_models(one, other, task="eyes", faces=faces)
    >>> sorted(key for key in found if key.family == "forgotten")
    ['forgotten/signal_to_original']
    """
    known = task if isinstance(task, Task) else task_named(task)
    if wrong := [name for name in faces if name not in SPLITS]:
        raise InputError(f"there is no split '{wrong[0]}'{nearest(wrong[0], SPLITS)}")
    if "forget" not in faces:
        raise InputError("give the faces that were to be forgotten: faces = {'forget': ...}")
    here = device_named(device)
    splits = Splits(**_checked({name: faces.get(name) for name in SPLITS}, known))

    def scored(model: nn.Module) -> Scored:
        there = copy.deepcopy(model).to(here)
        return score_faces(predict(there, splits, (), here), known)

    original = scored(before)
    return assess(scored(after), original, scored(reference) if reference else None, known)


def _method(method: str | Method, task: Task) -> Method:
    if not isinstance(method, str):
        return method
    if ":" in method:
        return function_named(method, "method")
    if method not in METHODS:
        raise InputError(f"method '{method}' is unknown{nearest(method, METHODS)}")
    if not works_on(method, task):
        raise InputError(f"method '{method}' works on {' and '.join(tasks_of(method))}, not on '{task.name}'")
    return METHODS[method]


def _checked(given: Mapping[str, AnyFaces | None], task: Task) -> dict[str, Faces]:
    """Faces of every name over one store of images, in which none means an empty part."""
    parts = {name: faces_from(one, name, task.target_kind) for name, one in given.items() if one is not None}
    if empty := [name for name, faces in parts.items() if not len(faces)]:
        raise InputError(f"{empty[0]} holds no face")
    shapes = {name: faces.shape for name, faces in parts.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"images differ in shape (channels, height, width): {shapes}; give all of them one shape")
    for name, faces in parts.items():
        if bad := task.complaint(faces.targets, (len(faces), *faces.shape)):
            row, why = bad
            raise InputError(f"{name}[{row}]: {why}")
    if len({id(faces.images.store) for faces in parts.values()}) > 1:
        whole = joined(list(parts.values()))
        rows = np.split(np.arange(len(whole)), np.cumsum([len(faces) for faces in parts.values()])[:-1])
        parts = dict(zip(parts, (whole[some] for some in rows), strict=True))
    nobody = next(iter(parts.values()))[np.zeros(0, int)]
    return {name: parts.get(name, nobody) for name in given}
