"""Weights as data, never as code: safetensors by default, and the checkpoints met in practice."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.errors import InputError, nearest, refusing
from efface.files import parsed_json, replacing
from efface.models import MODELS
from efface.models.recogniser import own_backbone
from efface.settings import validated

NESTING = ("state_dict", "net_state_dict", "model_state_dict", "model")
"""Under which a checkpoint holds the weights, if it holds them under several names that fit; any other is found too."""
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What DataParallel, torch.compile and FSDP put into the names of parameters, at any depth."""
PREFIXES = {"backbone", "encoder", "model", "net", "network"}
"""What training code puts before the names of some parameters; what stands before all is found whatever it is."""
COUNTER = ".num_batches_tracked"
"""Of batch normalisation: files written before PyTorch 0.4.1 lack it, and torch takes it as 0."""
LARGEST_SIDE = 2048
"""Pixels of a picture that a record may ask for."""

Weights = dict[str, Tensor]
Value = TypeVar("Value")


class Beside:
    """What stands beside the weights in a checkpoint: whatever it was, nothing is kept of it."""

    def __new__(cls, *_arguments: object) -> Beside:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


BESIDE = (
    *("argparse.Namespace", "types.SimpleNamespace", "datetime.datetime", "datetime.date"),
    *(f"pathlib.{kind}" for kind in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath")),
    *("numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)
"""Names that training code leaves beside the weights; each is read as a `Beside`."""


def save_weights(model: nn.Module, path: Path, record: Mapping[str, Any]) -> None:
    """Weights and what is to be known of them in one safetensors file, written whole or not at all.

    Weights that share memory are written each by itself.
    """
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    with replacing(path) as part:
        save_file(weights, part, {"efface": json.dumps(record, sort_keys=True)})


def read_weights(path: Path) -> tuple[Weights, dict[str, Any]]:
    """State dict and record (empty where efface did not write the file) of safetensors, .pt and .pth files.

    Of a checkpoint that holds several state dicts, the first. Names stand as in the file. Raises InputError for a file
    that is missing, broken, or a pickle of more than tensors and what is known to stand beside them.
    """
    return next(iter(state_dicts(path).values())), read_record(path)


def read_record(path: Path) -> dict[str, Any]:
    """What efface wrote beside the weights; empty where it did not write the file."""
    _check_file(path)
    if not _is_safetensors(path):
        return {}
    with refusing(f"{path} is not a whole safetensors file"), safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("efface", "{}")
    record = parsed_json(text, f"the record in {path}")
    if not isinstance(record, dict):
        raise InputError(f"the record in {path} is not a table: give weights from the models/ folder of a run")
    return record


def state_dicts(path: Path) -> dict[str, Weights]:
    """Every state dict that a file holds, by where in it; those under a well-known name first."""
    _check_file(path)
    if _is_safetensors(path):
        with refusing(f"{path} is not a whole safetensors file"), safe_open(path, "pt") as file:
            return {"": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    found = _unpickled(path)
    if not (held := dict(_state_dicts_in(found, "", set()))):
        raise InputError(
            f"{path} holds {type(found).__name__}, not a state dict: expected names with tensors; "
            "save model.state_dict()"
        )
    return held


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist")


def _is_safetensors(path: Path) -> bool:
    """Whether a file is called so, or begins as one: the length of a header, and the header."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _unpickled(path: Path) -> object:
    """What torch.save wrote, read by torch's restricted unpickler."""
    complaint = f"{path} is no file of weights: expected a state dict saved by torch.save, or safetensors"
    stand_ins: list[Any] = [(Beside, name) for name in BESIDE]
    with refusing(complaint):
        _check_archive(path)
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if named := re.search(r"unsupported global:? (?:GLOBAL )?([\w.]+)", str(error), re.IGNORECASE):
                raise InputError(
                    f"{path} is no file of weights alone: reading it would run {named[1]}; if you trust it, save its "
                    "state dict alone: torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pt')"
                ) from None
            raise


def _check_archive(path: Path) -> None:
    """Raise an error where the archive that torch.save writes would unpack to more than it is."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise ValueError("it is compressed")


def _state_dicts_in(found: object, where: str, seen: set[int]) -> Iterator[tuple[str, Weights]]:
    """Dictionaries of names with tensors, from the outside in, each with where it stands; `seen`: by their ids."""
    if not isinstance(found, dict) or not found or id(found) in seen or where.count(".") > 3:
        return
    seen.add(id(found))
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        yield where, dict(found)
        return
    known = [name for name in NESTING if name in found]
    for name in [*known, *(name for name in found if name not in known)]:
        yield from _state_dicts_in(found[name], f"{where}.{name}" if where else str(name), seen)


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """`model` with the weights of a file; InputError names the first parameters that do not fit.

    Weights of a backbone alone go into a recogniser's backbone; its head then stays as it is.
    """
    put(matched(model, path), model, path)
    return model


def lacks_head(model: nn.Module, path: Path) -> bool:
    """Whether a file that fits a recogniser is of its backbone alone, so that the head must be placed."""
    return not matched(model, path).keys() >= {name for name in model.state_dict() if not name.endswith(COUNTER)}


def start_from(model: nn.Module, path: Path) -> nn.Module:
    """`model` with the weights of a file but for its last layer, where that has another number of outputs.

    Raises InputError when anything else does not fit.
    """
    wanted = model.state_dict()
    last = {name for name in wanted if name.startswith(f"{list(wanted)[-1].rpartition('.')[0]}.")}
    found = matched(model, path, last)
    put(
        {name: value for name, value in found.items() if name not in last or value.shape == wanted[name].shape},
        model,
        path,
    )
    return model


def recorded_network(path: Path, arch: str | None = None) -> nn.Module:
    """The network that a file of weights says it is of, with these weights, in evaluation mode.

    A record chooses among the networks of this package, by numbers; it never names code. arch: "module:function", the
    user's own word for the backbone of a network that is not of this package.
    """
    record = read_record(path)
    name, shape, classes = (record.get(key) for key in ("model", "shape", "classes"))
    settings = record.get("model_settings", {})
    if not isinstance(name, str) or not isinstance(settings, dict):
        raise InputError(f"{path} does not say which model it is of: give weights from the models/ folder of a run")
    if not isinstance(shape, list) or len(shape) != 3 or not all(_is_count(side, LARGEST_SIDE) for side in shape):
        raise InputError(f"{path} says its pictures are {shape!r}: expected channels, height and width in pixels")
    if classes is None:
        classes = 0
    if classes != 0 and not _is_count(classes, 2**31):
        raise InputError(f"{path} says it tells {classes!r} apart: expected a number of classes or people")
    if name == "own_backbone":
        if arch is None:
            raise InputError(
                f"{path} is of a network of somebody's own, and a file of weights runs no code: name what makes its "
                "backbone, if you trust it: --arch module:function"
            )
        settings = {**settings, "factory": arch}
    elif arch is not None:
        raise InputError(f"{path} is of the model '{name}', which --arch does not make: leave --arch out")
    elif name not in MODELS:
        raise InputError(f"{path} is of an unknown model '{name}'{nearest(name, MODELS)}")
    build = MODELS[name]
    checked = validated(build, settings, f"{path}: model '{name}'")

    def untrained() -> nn.Module:
        return build(tuple(shape), classes, **checked)

    if build is not own_backbone:
        with refusing(f"{path} is of no network that can be built"), torch.device("meta"):
            outline = untrained()
        _check_shapes(matched(outline, path), outline, path)
    return load_weights(untrained(), path).eval()


def _is_count(number: object, most: int) -> bool:
    return type(number) is int and 0 < number <= most


def matched(model: nn.Module, path: Path, free: Collection[str] = ()) -> Weights:
    """The weights of a file under the model's own names; of a backbone alone, all but the head's.

    Names are matched with the model's, whatever wrappers, prefixes or nesting the file has; names in `free` may be
    missing. Raises InputError where nothing in the file fits, or several things do.
    """
    held, parts = state_dicts(path), {"": set(model.state_dict())}
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module):
        parts["backbone."] = set(backbone.state_dict())
    for part, wanted in parts.items():
        found = fitting(held, wanted, {name for name in wanted if part + name in free})
        usual = [place for place in found if place in ("", *NESTING)]
        if not usual and len(found) > 1:
            raise InputError(several(path, found))
        for place in usual or found:
            return {part + name: tensor for name, tensor in found[place].items()}
    raise InputError(nothing_fits(path, held, parts.values()))


def several(path: Path, places: Collection[str]) -> str:
    """The complaint about a file in which weights fit at several places."""
    where = _few(sorted(place or "no name" for place in places))
    return f"{path} holds {len(places)} sets of weights that fit, under {where}: save the one that is meant by itself"


def nothing_fits(path: Path, held: Mapping[str, Mapping[str, object]], parts: Collection[set[str]]) -> str:
    """The complaint about a file in which no weights have the names of a network, or of a part of it."""
    alike = [(wanted, place, _renamed(weights, wanted).keys()) for wanted in parts for place, weights in held.items()]
    wanted, place, names = max(alike, key=lambda one: len(one[2] & one[0]))
    if len(names) < len(held[place]):
        return f"{path} holds some weights twice, with a prefix and without: save those that are meant"
    missing, unknown = _few(sorted(wanted - names)), _few(sorted(names - wanted))
    return f"{path} is of another network: it lacks {missing} and has {unknown} too many"


def fitting(
    held: Mapping[str, Mapping[str, Value]], wanted: Collection[str], free: Collection[str] = ()
) -> dict[str, dict[str, Value]]:
    """What is held under the wanted names, by where: whatever stands before the names, and in state dicts of any
    nesting. Counters of batches, and names in `free`, may be missing."""
    needed = {name for name in wanted if name not in free and not name.endswith(COUNTER)}
    return {place: one for where, names in held.items() for place, one in _fitting(names, where, wanted, needed)}


def _fitting(
    weights: Mapping[str, Value], place: str, wanted: Collection[str], needed: Collection[str]
) -> Iterator[tuple[str, dict[str, Value]]]:
    """Every part of a state dict whose names, without what stands before them, are those wanted; and where it is."""
    whole = _renamed(weights, wanted)
    plain = {unwrapped(name, wanted): tensor for name, tensor in weights.items()}
    if len(plain) < len(weights):
        return
    if len(whole) == len(weights) and set(needed) <= whole.keys() <= set(wanted):
        yield place, whole
        return
    some = min(needed, default="")
    for prefix in {name.removesuffix(some) for name in plain if name.endswith(f".{some}")}:
        part = {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)}
        if set(needed) <= part.keys() <= set(wanted):
            yield f"{place}.{prefix}".strip("."), part


def _renamed(weights: Mapping[str, Value], wanted: Collection[str]) -> dict[str, Value]:
    """Every name without wrappers, and without the usual prefixes where what is left is wanted."""
    return {bare(name, wanted): tensor for name, tensor in weights.items()}


def bare(name: str, wanted: Collection[str]) -> str:
    """A name without wrappers, and without the usual prefixes where what is left is wanted."""
    return _without_prefixes(unwrapped(name, wanted), wanted)


def unwrapped(name: str, wanted: Collection[str] = ()) -> str:
    """A name without what wrappers put into it, unless the network's own names have it."""
    if name in wanted:
        return name
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _without_prefixes(name: str, wanted: Collection[str]) -> str:
    rest = name
    while rest not in wanted and rest.partition(".")[0] in PREFIXES:
        rest = rest.partition(".")[2]
    return rest if rest in wanted else name


def put(weights: Weights, model: nn.Module, path: Path) -> None:
    """Weights into the network they fit; InputError, and no weight changed, if they do not. path: for the message.

    What is not among them stays, but for counters of batches, which begin at 0.
    """
    _check_shapes(weights, model, path)
    wanted = model.state_dict()
    counters = {name: torch.zeros_like(tensor) for name, tensor in wanted.items() if name.endswith(COUNTER)}
    with refusing(f"{path} holds weights that cannot be used"):
        model.load_state_dict({**wanted, **counters, **weights})


def _check_shapes(weights: Weights, model: nn.Module, path: Path) -> None:
    for name, wanted in model.state_dict().items():
        tensor = weights.get(name, wanted)
        if tensor.shape != wanted.shape:
            raise InputError(
                f"{path} is of another network: {name} is {tuple(tensor.shape)}, "
                f"expected {tuple(wanted.shape)}; give the model the settings and the size of picture it "
                "was trained with"
            )
        if name in weights and (tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta):
            raise InputError(f"{path}: {name} is no plain tensor: save the weights as dense numbers")


def _few(names: list[str]) -> str:
    return "nothing" if not names else ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def outputs_of(record: Mapping[str, Any]) -> str | None:
    """What a saved network answers with, by its record: points, embeddings or logits; records of version 0.1 name the
    task alone."""
    earlier = {"eyes": "points", "recognition": "embeddings", "classes": "logits", "attributes": "logits"}
    return record.get("outputs") or earlier.get(str(record.get("task", "eyes")))
