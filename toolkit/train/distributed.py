"""One training in several processes, on one machine or many: started by `torchrun`, joined here.

Every process draws the same samples and takes its share of each batch. Gradients are averaged over the batch's clips,
and batch norms normalise by the whole batch, so that a training in n processes is the training in one.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from toolkit.errors import ConfigError

_PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: one of them evaluates while the rest wait."""


@dataclass(frozen=True)
class Processes:
    """Who takes part in a training."""

    rank: int = 0
    """This process, from 0; rank 0 writes files and reports progress."""
    count: int = 1
    local_rank: int = 0
    """This process among those of its machine: the GPU that it takes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0


def processes_of(environment: Mapping[str, str] = os.environ) -> Processes:
    """Return what `torchrun` said in the environment, or one process.

    Raises
    ------
    ConfigError
        If the variables make no sense.
    """
    if "WORLD_SIZE" not in environment:
        return Processes()
    try:
        found = Processes(*(int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"WORLD_SIZE is set, but RANK, WORLD_SIZE and LOCAL_RANK are not three numbers ({error}). Start several "
            "processes with: torchrun --nproc-per-node N --no-python toolkit train ..."
        ) from error
    return found


def join(processes: Processes, device: torch.device) -> None:
    """Meet the other processes, once in a process's life; alone, do nothing."""
    if processes.count > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
        atexit.register(distributed.destroy_process_group)


def shared(network: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """Return the network to call in training: itself, or one that averages gradients over all processes.

    Its batch norms are replaced in place by `SynchronisedBatchNorm`; parameters keep their names.
    """
    if processes.count == 1:
        return network
    synchronise_batch_norms(network)
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)


def summed(values: torch.Tensor, processes: Processes) -> torch.Tensor:
    """Return the sum over all processes, everywhere."""
    if processes.count > 1:
        distributed.all_reduce(values)
    return values


def broadcast(value: Any, processes: Processes) -> Any:
    """Return the first process's value, of plain types, everywhere; the others wait for it."""
    if processes.count == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


class SynchronisedBatchNorm(nn.Module):
    """Batch norm over the clips of all processes; in evaluation the wrapped norm itself.

    torch's own runs on GPUs only and could not be tested where there is none; this one is the same on both.

    Parameters
    ----------
    norm
        The norm whose parameters and running statistics are used; they keep their names in the network's state.
    """

    def __init__(self, norm: nn.BatchNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.momentum = norm.weight, norm.bias, norm.eps, norm.momentum
        self.running_mean: torch.Tensor
        self.running_var: torch.Tensor
        self.num_batches_tracked: torch.Tensor
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, T, H, W)."""
        if not self.training:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        channels = values.shape[1]
        own = torch.cat([values.sum(dim=(0, 2, 3, 4)), values.new_tensor([values.numel() / channels])])
        total = all_reduce(own)  # type: ignore[no-untyped-call]
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = values - mean.view(1, -1, 1, 1, 1)
        squares = all_reduce(centred.square().sum(dim=(0, 2, 3, 4)))  # type: ignore[no-untyped-call]
        variance = squares / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1), share)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        normal = centred * scale.view(1, -1, 1, 1, 1)
        if self.bias is not None:
            normal = normal + self.bias.view(1, -1, 1, 1, 1)
        result: torch.Tensor = normal.to(x.dtype)
        return result


def synchronise_batch_norms(network: nn.Module) -> None:
    """Replace every `BatchNorm3d` below `network` in place."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm3d):
            setattr(network, name, SynchronisedBatchNorm(child))
        else:
            synchronise_batch_norms(child)
