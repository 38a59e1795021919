"""The network after as an ONNX file too, and whether it answers what the weights answer."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efface.data.batches import as_input
from efface.data.faces import Array
from efface.erasure.contract import ContractedNetwork, InputContract, in_channels
from efface.errors import InputError
from efface.files import replacing

PARITY = 1e-4
"""Largest difference between an answer of the file and of the network, as a share of the largest answer."""
MOST = 64
"""Photos that both answer."""
NEEDED = "an ONNX file needs onnx, onnxscript and onnxruntime: pip install 'efface[onnx]'"


def check_onnx() -> None:
    """Raise InputError where what writes and reads such files is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{NEEDED} ({error.name} is missing)") from None


def write_onnx(model: ContractedNetwork, images: Array, path: Path) -> float:
    """Write the network behind a contract as `path`, readable by its owner alone, and return how far its answers are
    from the network's own on some images (n, c, h, w) uint8, as a share of the largest.

    Its input "images" is as the contract has it (float32, any number of them), its output is "answers". Raises
    InputError, and leaves no file, for a network that cannot be exported and where the answers differ.
    """
    check_onnx()
    shown = as_the_contract_has_them(model, images[:MOST])
    with torch.no_grad():
        meant = model.network.cpu().eval()(shown).numpy()
    with replacing(path, private=True) as part:
        export(model.network, shown[:2], part, model.contract)
        given = answered(part, shown.numpy())
        apart = float(np.abs(given - meant).max() / max(np.abs(meant).max(), 1e-12))
        if not apart <= PARITY:
            raise InputError(
                f"{path} would answer otherwise than the weights (by {apart:.1e} of the largest answer, {PARITY:.0e} "
                "is allowed): it was not written"
            )
    return apart


@torch.no_grad()
def as_the_contract_has_them(model: ContractedNetwork, images: Array) -> Tensor:
    """(n, c, h, w) float32 of images uint8: scaled, and with channels in the network's order."""
    pixels = as_input(images, torch.device("cpu"))
    shown = in_channels(pixels, model.contract.channels) * model.scale.cpu() + model.shift.cpu()
    return shown.contiguous(memory_format=torch.contiguous_format)


def export(network: nn.Module, shown: Tensor, path: Path, contract: InputContract) -> None:
    """Write a network that answers a batch of any size, and its contract as `efface.contract` among the file's
    metadata. Raises InputError where PyTorch cannot."""
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    try:
        loud.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (shown,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["answers"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
            assert program is not None
            path.write_bytes(without_traces(program.model_proto, contract))
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise InputError(f"the network cannot be written as ONNX: {said}") from None
    finally:
        loud.setLevel(level)


def without_traces(model: Any, contract: InputContract) -> bytes:
    """A model as bytes, without the paths and lines of source that the exporter writes beside every node, and with its
    contract."""
    graphs = [model.graph, *model.functions]
    for part in (model, *graphs, *(one for graph in graphs for one in (*graph.node, *graph.value_info))):
        del part.metadata_props[:]
    for one in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del one.metadata_props[:]
    model.metadata_props.add(key="efface.contract", value=json.dumps(contract.plain()))
    content: bytes = model.SerializeToString()
    return content


def answered(path: Path, shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, ...) what the file's network answers to images (n, c, h, w), by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    answers: NDArray[np.float32] = session.run(["answers"], {"images": shown})[0]
    return answers
