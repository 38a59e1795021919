"""One model trained by several processes, on as many GPUs or machines: each works through its share of every batch, and
all of them take the same step.

Data-parallel training (Li et al., PyTorch Distributed, VLDB 2020, arXiv:2006.15704), started by torchrun or whatever
else sets its variables. Every process does a run's work in the same order and from the same seeds. Inside `in_parallel`
batches are shared out, gradients are summed and batch normalisation goes by the faces of all processes, so that weights
are those of one process but for the order in which numbers are added: with 64 bits they agree to 1e-6, with 32 training
makes more of the rounding, as it does of another number of threads. Random changes of pictures are others: each process
draws its own. Outside of the block processes compute the same things, each for itself; the first one alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from efface.errors import InputError

LONGEST_WAIT = timedelta(days=7)
"""While the first process measures, the others wait; one that dies takes all with it, as the launcher has it."""


@dataclass(frozen=True)
class Processes:
    """The processes that make a run's models together, and which of them this one is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all are here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first one does what stands in the block alone, then all others do: they find what it wrote."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def agree(self, value: bool) -> bool:
        """What the first one thinks: all must do the same."""
        if self.count == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told)
        return told[0]


_here = Processes()
_parallel = False
_alone = False


def processes() -> Processes:
    """Those of this run; one, where nobody started several."""
    return _here


@contextmanager
def launched(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, which says so in the environment, joined while the block lasts; one, where
    it did not. Raises InputError for a launcher that cannot be understood."""
    global _here
    if not several_launched():
        yield _here
        return
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    try:
        _here = Processes(int(rank), int(count))
    except ValueError:
        raise InputError(f"RANK and WORLD_SIZE are {rank!r} and {count!r}: expected numbers") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"several processes train one model on CPUs or CUDA, not on {device.type}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield _here
    finally:
        dist.destroy_process_group()
        _here = Processes()


def several_launched() -> bool:
    """Whether a launcher started several processes, this one among them."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and {"RANK", "MASTER_ADDR"} <= set(os.environ)


def launched_after_first() -> bool:
    """Whether this is one of several processes, and not the first: it has nothing to say."""
    return several_launched() and os.environ["RANK"] != "0"


def device_of_process(device: torch.device) -> torch.device:
    """The GPU of this process, where a launcher started one for each GPU of the machine."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


@contextmanager
def in_parallel(model: nn.Module) -> Iterator[None]:
    """While the block lasts each process is handed its share of every batch (`share_of`), steps are those of all
    (`summed_over_processes`), and the model's batch normalisation goes by all their faces. All begin with the first
    one's weights."""
    global _parallel
    if _here.count == 1 or _parallel or _alone:
        yield
        return
    for values in [*model.parameters(), *model.buffers()]:
        dist.broadcast(values.detach(), 0)
    kinds: list[tuple[_BatchNorm, Any]] = []
    for part in model.modules():
        if isinstance(part, _BatchNorm):
            kinds.append((part, type(part)))
            part.__class__ = _over_processes(type(part))
    _parallel = True
    try:
        yield
    finally:
        _parallel = False
        for part, kind in kinds:
            part.__class__ = kind


@contextmanager
def alone() -> Iterator[None]:
    """While the block lasts this process works for itself: what the others do not do either is not shared out."""
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def share_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of a batch that are this process's; none, where there are fewer than processes."""
    return rows[_here.rank :: _here.count] if _parallel else rows


def rank_in_parallel() -> int:
    """This process's number, where batches are shared out; 0 elsewhere."""
    return _here.rank if _parallel else 0


def summed_over_processes(weights: Iterable[Tensor]) -> None:
    """Give every weight the sum of its gradients in all processes, in one message."""
    if not _parallel:
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    whole = torch.cat([one.flatten() for one in gradients])
    dist.all_reduce(whole)
    for one, total in zip(gradients, torch.split(whole, [one.numel() for one in gradients]), strict=True):
        one.copy_(total.view_as(one))


def summed(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients go back."""
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def by_running_statistics(norm: _BatchNorm, values: Tensor) -> Tensor:
    """As in evaluation mode."""
    return functional.batch_norm(
        values, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0, norm.eps
    )


def _over_processes(kind: Any) -> Any:
    """A kind of batch normalisation that takes its statistics from the faces of all processes (as `SyncBatchNorm`,
    which torch has for GPUs alone)."""

    def forward(self: _BatchNorm, values: Tensor) -> Tensor:
        few = self.__dict__.pop("lone", False)  # `allow_lone_faces` sees this process's faces alone
        self.training |= few
        faces, places = len(values), values[0, 0].numel() if len(values) else 1
        counts = torch.tensor([float(faces), float(faces * places)], device=values.device)
        if self.training:
            dist.all_reduce(counts)
        if not self.training or counts[0] == 1:
            return by_running_statistics(self, values)
        wide = values.to(self.weight.dtype) if self.affine else values.float()
        over, shape, count = [0, *range(2, wide.dim())], [1, -1, *[1] * (wide.dim() - 2)], counts[1]
        mean = summed(wide.sum(over)) / count
        apart = wide - mean.view(shape)
        variance = summed(apart.square().sum(over)) / count
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            with torch.no_grad():
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * count / (count - 1), momentum)
        normed = apart * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(values.dtype)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
