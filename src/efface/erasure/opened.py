"""A recogniser's file opened under its input contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from efface.erasure.architecture import network_of
from efface.erasure.checkpoint import Checkpoint, open_checkpoint
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.erasure.inspect import contract_of, read_contract
from efface.errors import InputError
from efface.files import sha256_of
from efface.models.factory import untrained_answer


@dataclass(frozen=True)
class Opened:
    """A model as its file has it."""

    checkpoint: Checkpoint
    network: ContractedNetwork
    contract: InputContract
    architecture: str
    measured: bool
    """Whether the contract was measured when it was written."""


def open_model(
    path: Path,
    arch: str | None,
    contract: Path | None,
    size: tuple[int, int] | None = None,
    answers: tuple[int, ...] | None = None,
) -> Opened:
    """Open a model's file under a contract: a file of `efface inspect`, or what its weights say.

    answers: the shape of what it answers to one image; an embedding of any length where None. Raises InputError for a
    network that answers otherwise.
    """
    measured = False
    if contract is not None:
        if not path.is_file():
            raise InputError(f"weights file {path} does not exist")
        found, measured = read_contract(contract, sha256_of(path))
    else:
        found = contract_of(path, arch, {} if size is None else {"size": list(size)})
    network = network_of(path, arch, found.shape)
    answer = untrained_answer(network, found.shape)
    if not isinstance(answer, Tensor) or (answer.ndim != 2 if answers is None else answer.shape[1:] != answers):
        given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        wanted = "an embedding each, (2, d)" if answers is None else str((2, *answers))
        raise InputError(f"the network of {path} answers two images with {given}: expected {wanted}")
    checkpoint = open_checkpoint(path, network, dimensions=answer.shape[1] if answers is None else None)
    network.load_state_dict(checkpoint.weights)
    name = arch or type(network).__name__
    contracted = ContractedNetwork(network, found).eval().requires_grad_(False)
    return Opened(checkpoint, contracted, found, name, measured)
