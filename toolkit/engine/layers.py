"""A float32 graph as a list of layers, and graphs made from it in which chosen layers are FP16.

Two such graphs. One stores what a layer reads and writes as FP16 and computes in float32, which shows on any CPU what
FP16 does to the values. The other computes the layer in FP16, for an engine. Both take and give float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.engine.onnxruntime import session_of
from toolkit.errors import EngineError, MissingDependency

_SEGMENT = 12
"""Layers whose values are looked at in one run: all at once would not fit into memory."""


@dataclass(frozen=True)
class Layer:
    """One node of the graph that gives float32."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    """Float32 tensors that it reads, weights left out."""
    outputs: tuple[str, ...]
    largest_weight: float
    """Largest magnitude of its weights, 0 without any."""


class LayeredGraph:
    """A float32 graph of a bundle.

    Parameters
    ----------
    path
        ``STREAM.fp32.onnx``.

    Raises
    ------
    MissingDependency
        If the package onnx is not installed.
    EngineError
        If the file cannot be read as ONNX.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._onnx, self._model = _load(path)
        for index, node in enumerate(self._model.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"

    @cached_property
    def _weights(self) -> dict[str, NDArray[np.float32]]:
        arrays = {tensor.name: self._onnx.numpy_helper.to_array(tensor) for tensor in self._model.graph.initializer}
        return {name: array for name, array in arrays.items() if array.dtype == np.float32}

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every node that computes float32 from float32, in the order of the graph."""
        types = _types(self._onnx, self._model)
        found = []
        for node in self._model.graph.node:
            outputs = tuple(name for name in node.output if types.get(name) == self._onnx.TensorProto.FLOAT)
            inputs = tuple(
                name
                for name in node.input
                if types.get(name) == self._onnx.TensorProto.FLOAT and name not in self._weights
            )
            if inputs and outputs:
                weights = [float(np.abs(self._weights[name]).max()) for name in node.input if name in self._weights]
                found.append(Layer(node.name, node.op_type, inputs, outputs, max(weights, default=0.0)))
        return tuple(found)

    def half_layers(self, fp16: Path) -> tuple[Layer, ...]:
        """Return the layers that are FP16 in the bundle's mixed graph, which names them alike."""
        onnx, model = _load(fp16)
        types = _types(onnx, model)
        half = {node.name for node in model.graph.node if types.get(node.output[0]) == onnx.TensorProto.FLOAT16}
        known = {node.name for node in model.graph.node}
        return tuple(layer for layer in self.layers if layer.name in half or layer.name not in known)

    def values(self, layers: Sequence[Layer], clip: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield every tensor that these layers write of one (C, T, H, W) clip, in float32, and its name."""
        feed = {"clips": np.ascontiguousarray(clip.transpose(1, 0, 2, 3))[np.newaxis]}
        for start in range(0, len(layers), _SEGMENT):
            names = [name for layer in layers[start : start + _SEGMENT] for name in layer.outputs]
            model = self._copy()
            known = {output.name for output in model.graph.output}
            model.graph.output.extend(
                self._onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known
            )
            session = session_of(model.SerializeToString(), str(self.path))
            yield from zip(names, session.run(names, feed), strict=True)

    def stored_in_half(self, names: Collection[str]) -> bytes:
        """Return a graph whose layers of these names read and write FP16 and compute in float32.

        Weights are rounded too. What exceeds FP16's range becomes infinite, what is too small zero.
        """
        return self._mixed(names, compute=False)

    def computed_in_half(self, names: Collection[str]) -> bytes:
        """Return a graph whose layers of these names are FP16, for a strongly typed engine."""
        return self._mixed(names, compute=True)

    def _mixed(self, names: Collection[str], *, compute: bool) -> bytes:
        onnx, model = self._onnx, self._copy()
        cast, half, single = onnx.helper.make_node, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
        chosen = {layer.name: layer for layer in self.layers if layer.name in names}
        nodes: list[Any] = []
        made: set[str] = set()

        def add(kind: int, source: str, target: str) -> None:
            if target not in made:
                made.add(target)
                nodes.append(cast("Cast", [source], [target], to=kind, name=f"{target}:cast"))

        for node in model.graph.node:
            layer = chosen.get(node.name)
            if layer is None:
                nodes.append(node)
                continue
            for place, name in enumerate(node.input):
                if name in self._weights:
                    node.input[place] = self._add_weight(model, name, made, compute=compute)
                elif name in layer.inputs:
                    add(half, name, f"{name}:half")
                    if not compute:
                        add(single, f"{name}:half", f"{name}:read")
                    node.input[place] = f"{name}:half" if compute else f"{name}:read"
            nodes.append(node)
            for place, name in enumerate(node.output):
                if name in layer.outputs:
                    written = f"{name}:written"
                    node.output[place] = written
                    if not compute:
                        add(half, written, f"{written}:half")
                    add(single, written if compute else f"{written}:half", name)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        content: bytes = model.SerializeToString()
        return content

    def _add_weight(self, model: Any, name: str, made: set[str], *, compute: bool) -> str:
        rounded = f"{name}:rounded"
        if rounded not in made:
            made.add(rounded)
            with np.errstate(over="ignore"):
                array: NDArray[Any] = self._weights[name].astype(np.float16)
            array = array if compute else array.astype(np.float32)
            model.graph.initializer.append(self._onnx.numpy_helper.from_array(array, rounded))
        return rounded

    def _copy(self) -> Any:
        model = self._onnx.ModelProto()
        model.CopyFrom(self._model)
        # What is declared of inner tensors would contradict the graphs made from it.
        del model.graph.value_info[:]
        return model


def _load(path: Path) -> tuple[Any, Any]:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency(
            f"looking into a graph needs the package onnx, which cannot be imported ({error}). "
            "Install: pip install 'onnx>=1.21,<1.22'"
        ) from error
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    try:
        return onnx, onnx.load(path)
    except (OSError, DecodeError) as error:
        raise EngineError(f"{path}: not a readable ONNX graph ({error}). Export or copy the bundle again.") from error


def _types(onnx: Any, model: Any) -> dict[str, int]:
    """Return the element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    declared = (*graph.input, *graph.output, *graph.value_info)
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in declared}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}
