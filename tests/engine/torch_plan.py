"""A plan that torch runs on the GPU: stands in for TensorRT, which no machine of ours with a GPU has.

It reads and writes the same device addresses on the same stream as `OpenPlan`, and can be captured as it can, so that
all of the device runtime but TensorRT's own calls runs on hardware. What TensorRT does stays unverified.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from toolkit.bundle import Manifest
from toolkit.engine.cuda import DeviceNetworks
from toolkit.engine.host import HostNetworks
from toolkit.engine.tensors import GraphShape
from toolkit.flow import FlowParameters
from toolkit.flow.cuda import CudaFlow
from toolkit.preprocess import Stream, StreamInput


@dataclass(frozen=True)
class TorchPlanFile:
    """`PlanFile`'s stand-in: a network of the training room, FP16, of fixed random weights."""

    architecture: str
    shape: GraphShape
    device: int = 0

    @property
    def identity(self) -> str:
        return f"torch/{self.architecture}/fp16"

    def network(self) -> Any:
        """Return the module; every call's is the same."""
        import torch

        from toolkit.train.networks import build_network

        torch.manual_seed(self.shape.channels)
        network = build_network(self.architecture, channels=self.shape.channels, classes=self.shape.classes)
        return network.eval().half().to(f"cuda:{self.device}", memory_format=torch.channels_last_3d)

    def open(self) -> TorchPlan:
        """Return the network at work; see `PlanFile.open`."""
        return TorchPlan(self)


class TorchPlan:
    """`OpenPlan`'s stand-in."""

    max_batch = 1

    def __init__(self, file: TorchPlanFile) -> None:
        self.path, self.shape = Path(file.architecture), file.shape
        self._network = file.network()
        self._tensors: dict[int, Any] = {}
        """By address, made outside any capture."""

    def set_batch(self, batch: int) -> None:
        assert batch == 1

    def enqueue(self, clips: int, logits: int, stream: Any) -> None:
        """Queue an inference; see `OpenPlan.enqueue`."""
        import torch

        if clips not in self._tensors:
            self._tensors[clips] = _at(clips, (1, *self.shape.time_major))
        if logits not in self._tensors:
            self._tensors[logits] = _at(logits, (1, self.shape.classes))
        with torch.inference_mode(), torch.cuda.stream(torch.cuda.ExternalStream(stream.handle)):
            self._tensors[logits].copy_(run_torch(self._network, self._tensors[clips]))

    def close(self) -> None:
        """Free the network, and what torch keeps for each stream that it has seen."""
        import torch

        self._tensors.clear()
        del self._network
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


class TorchBackend:
    """The same network for clips in host memory; a `Backend`."""

    def __init__(self, file: TorchPlanFile) -> None:
        self._file = file

    @property
    def identity(self) -> str:
        return self._file.identity

    def infer(self, clips: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            time_major = torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4))).to("cuda")
            logits: NDArray[np.float32] = run_torch(self._network, time_major).float().cpu().numpy()
        return logits

    def __enter__(self) -> Self:
        self._network = self._file.network()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._network


def run_torch(network: Any, time_major: Any) -> Any:
    """Return (1, K) logits of (1, T, C, H, W) float32 clips."""
    import torch

    clips = time_major.permute(0, 2, 1, 3, 4).to(torch.float16, memory_format=torch.channels_last_3d)
    return network(clips)


def both_forms(spec: Manifest, architecture: str, parameters: FlowParameters) -> tuple[DeviceNetworks, HostNetworks]:
    """Return a bundle's networks in the device form and, with flow by the same GPU, in the host form."""
    files: dict[Stream, Any] = {each.stream: TorchPlanFile(architecture, _shape(spec, each)) for each in spec.inputs}
    has_flow = "flow" in spec.streams
    return (
        DeviceNetworks(spec, files, CudaFlow(parameters) if has_flow else None),
        HostNetworks(
            spec,
            CudaFlow(parameters) if has_flow else None,
            {stream: TorchBackend(file) for stream, file in files.items()},
        ),
    )


def _shape(spec: Manifest, stream: StreamInput) -> GraphShape:
    return GraphShape(
        channels=stream.channels,
        frames=spec.clip.frames,
        height=stream.crop,
        width=stream.crop,
        classes=len(spec.ethogram),
    )


def _at(address: int, shape: tuple[int, ...]) -> Any:
    """Return the float32 tensor at a device address; it owns nothing."""
    import torch

    place = {"shape": shape, "typestr": "<f4", "data": (address, False), "strides": None, "version": 3}
    return torch.as_tensor(SimpleNamespace(__cuda_array_interface__=place), device="cuda")
