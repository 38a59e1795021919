"""Weights as data, never as code: safetensors by default, and the checkpoints met in practice."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.errors import InputError
from efface.files import replacing

WRAPPERS = ("state_dict", "net_state_dict", "model_state_dict", "model")
"""Under which a checkpoint's dictionary may hold the weights."""


def save_weights(model: nn.Module, path: Path, record: Mapping[str, Any]) -> None:
    """Weights and what is to be known of them in one safetensors file, written whole or not at all."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as part:
        save_file(weights, part, {"efface": json.dumps(record, sort_keys=True)})


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and record (empty where efface did not write the file) of safetensors, .pt and .pth files.

    Takes a plain state dict or a dictionary that wraps one, with or without `module.` before each name.
    Raises InputError for a file that is missing, broken, or a pickle of anything but tensors.
    """
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                record = json.loads((file.metadata() or {}).get("efface", "{}"))
                return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{path} is not a whole safetensors file: {error}") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        AttributeError,
        AssertionError,
        struct.error,
    ) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise InputError(
            f"{path} is no file of weights: expected a state dict saved by torch.save, or safetensors "
            f"({reason[0][:120]})"
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(
            f"{path} holds {type(found).__name__}, not a state dict: expected names with tensors; "
            "save model.state_dict()"
        )
    return {str(name).removeprefix("module."): value for name, value in found.items()}, {}


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """`model` with the weights of a file; InputError names the first parameters that do not fit.

    Weights of a backbone alone go into a recogniser's backbone; its head then stays as it is.
    """
    weights, _ = read_weights(path)
    backbone = getattr(model, "backbone", None)
    put(weights, backbone if isinstance(backbone, nn.Module) and is_backbone(weights) else model, path)
    return model


def start_from(model: nn.Module, path: Path) -> nn.Module:
    """`model` with the weights of a file but for its last layer, where that has another number of outputs.

    Raises InputError when anything else does not fit.
    """
    weights, wanted = read_weights(path)[0], model.state_dict()
    last = list(wanted)[-1].rpartition(".")[0]
    fitting = {
        name: tensor
        for name, tensor in weights.items()
        if not (name.startswith(f"{last}.") and name in wanted and tensor.shape != wanted[name].shape)
    }
    own = {name: tensor for name, tensor in wanted.items() if name not in fitting and name.startswith(f"{last}.")}
    put({**fitting, **own}, model, path)
    return model


def is_backbone(names: Iterable[str]) -> bool:
    """Whether weights with these names are of a backbone alone, so that a recogniser's head must be placed."""
    return not all(name.startswith(("backbone.", "head.")) for name in names)


def put(weights: Mapping[str, Tensor], model: nn.Module, path: Path) -> None:
    """Weights into the network they fit; InputError, and no weight changed, if they do not. path: for the message."""
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or unknown:
        raise InputError(f"{path} is of another network: it lacks {_few(missing)} and has {_few(unknown)} too many")
    for name, tensor in wanted.items():
        if tensor.shape != weights[name].shape:
            raise InputError(
                f"{path} is of another network: {name} is {tuple(weights[name].shape)}, "
                f"expected {tuple(tensor.shape)}; give the model the settings and the size of picture it "
                "was trained with"
            )
    model.load_state_dict(weights)


def _few(names: list[str]) -> str:
    return "nothing" if not names else ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def outputs_of(record: Mapping[str, Any]) -> str | None:
    """What a saved network answers with, by its record: points, embeddings or logits; records of version 0.1 name the
    task alone."""
    earlier = {"eyes": "points", "recognition": "embeddings", "classes": "logits", "attributes": "logits"}
    return record.get("outputs") or earlier.get(record.get("task", "eyes"))
