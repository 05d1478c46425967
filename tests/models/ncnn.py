"""Models of ncnn, a text of layers and a file of weights, as ONNX; as many of its layers as Real-ESRGAN has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, np.dtype[Any]]

HALF = 0x01306B47  # the tag before a layer's weights where they are float16
ACTIVATION, SLOPE, COEFFICIENTS = 9, -23310, -23301  # numbers of parameters


@dataclass
class Layer:
    """A line of the text: type, name, inputs, outputs and parameters by number."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    parameters: dict[int, str]

    @classmethod
    def parse(cls, line: str) -> Layer:
        """Reads a line."""
        kind, name, reads, writes, *rest = line.split()
        n, m = int(reads), int(reads) + int(writes)
        numbers = dict(item.split("=") for item in rest[m:])
        return cls(kind, name, rest[:n], rest[n:m], {int(key): value for key, value in numbers.items()})

    def integer(self, number: int, default: int = 0) -> int:
        """A parameter."""
        return int(self.parameters.get(number, default))

    def reals(self, number: int) -> list[float]:
        """A parameter of several numbers, their count first."""
        return [float(item) for item in self.parameters[number].split(",")[1:]]


@dataclass
class Converter:
    """The ONNX graph so far. `names`: what a value of ncnn is called in it."""

    data: bytes
    position: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def floats(self, count: int) -> Array:
        """The next numbers of the weight file."""
        array = np.frombuffer(self.data, np.float32, count, self.position)
        self.position += array.nbytes
        return array

    def tagged(self, count: int) -> Array:
        """The next numbers, float16 where a tag says so."""
        tag = int(np.frombuffer(self.data, np.uint32, 1, self.position)[0])
        self.position += 4
        if tag == 0:
            return self.floats(count)
        if tag != HALF:
            raise ValueError(f"weights of an unknown kind {tag:#x}")
        array = np.frombuffer(self.data, np.float16, count, self.position)
        self.position += (array.nbytes + 3) // 4 * 4
        return array.astype(np.float32)

    def weight(self, name: str, array: Array) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def convolution(self, layer: Layer, x: str, y: str) -> None:
        k, width, size = layer.integer(0), layer.integer(1), layer.integer(6)
        height = layer.integer(11, width)
        c = size // (k * height * width)
        inputs = [x, self.weight(f"{layer.name}.weight", self.tagged(size).reshape(k, c, height, width))]
        if layer.integer(5):
            inputs.append(self.weight(f"{layer.name}.bias", self.floats(k)))
        activation = layer.integer(ACTIVATION)
        before = y if activation == 0 else f"{y}_conv"
        self.node(
            "Conv",
            inputs,
            before,
            name=layer.name,
            kernel_shape=[height, width],
            strides=[layer.integer(3, 1)] * 2,
            dilations=[layer.integer(2, 1)] * 2,
            pads=[layer.integer(4)] * 4,
        )
        if activation == 1:
            self.node("Relu", [before], y)
        elif activation == 2:
            self.node("LeakyRelu", [before], y, alpha=layer.reals(SLOPE)[0])
        elif activation:
            raise ValueError(f"layer {layer.name}: activation {activation}")

    def interpolation(self, layer: Layer, x: str, y: str) -> None:
        factors = np.array([1, 1, float(layer.parameters[1]), float(layer.parameters[2])], np.float32)
        mode = {1: "nearest", 2: "linear", 3: "cubic"}[layer.integer(0)]
        more: dict[str, object] = {"coordinate_transformation_mode": "half_pixel"}
        if mode == "nearest":
            more = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self.node("Resize", [x, "", self.weight(f"{layer.name}.scales", factors)], y, mode=mode, **more)

    def weighted_sum(self, layer: Layer, inputs: list[str], y: str) -> None:
        terms = []
        for k, (x, factor) in enumerate(zip(inputs, layer.reals(COEFFICIENTS), strict=True)):
            scaled = [x, self.weight(f"{layer.name}.{k}", np.float32(factor))]
            terms.append(x if factor == 1 else self.node("Mul", scaled, f"{y}_{k}"))
        self.node("Add", terms, y)

    def layer(self, layer: Layer) -> None:
        """Adds a layer."""
        inputs = [self.names.get(name, name) for name in layer.inputs]
        y = layer.outputs[0]
        match layer.kind:
            case "Input":
                self.names[y] = "input"
            case "Split":
                self.names.update((name, inputs[0]) for name in layer.outputs)
            case "Convolution":
                self.convolution(layer, inputs[0], y)
            case "PReLU":
                slope = self.floats(layer.integer(0)).reshape(-1, 1, 1)
                self.node("PRelu", [inputs[0], self.weight(f"{layer.name}.slope", slope)], y)
            case "Concat":
                self.node("Concat", inputs, y, axis=1)
            case "PixelShuffle":
                self.node("DepthToSpace", inputs, y, blocksize=layer.integer(0), mode="CRD")
            case "Interp":
                self.interpolation(layer, inputs[0], y)
            case "Eltwise" if layer.integer(0) == 1:
                self.weighted_sum(layer, inputs, y)
            case "BinaryOp":
                if layer.integer(1):
                    value = np.float32(layer.parameters[2])
                    inputs.append(self.weight(f"{layer.name}.value", value))
                self.node(("Add", "Sub", "Mul", "Div")[layer.integer(0)], inputs, y)
            case kind:
                raise ValueError(f"layer {layer.name}: {kind}")


def convert(text: Path, weights: Path) -> onnx.ModelProto:
    """An image-to-image model [N, 3, H, W] of ncnn as ONNX.

    Raises:
        ValueError: a layer that is not known here, or weights that are left over.
    """
    converter = Converter(weights.read_bytes())
    layers = [Layer.parse(line) for line in text.read_text().splitlines()[2:] if line.strip()]
    for layer in layers:
        converter.layer(layer)
    if converter.position != len(converter.data):
        raise ValueError(f"{len(converter.data) - converter.position} bytes of weights are left")
    graph = helper.make_graph(
        converter.nodes,
        "ncnn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(layers[-1].outputs[0], TensorProto.FLOAT, ["N", 3, "outH", "outW"])],
        converter.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
