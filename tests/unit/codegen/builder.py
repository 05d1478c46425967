"""A random network in the making: layers are added where their shapes allow it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cnngen.spec import ShapeError
from cnngen.spec.ops import OPS, Conv2d, LayerBase, Linear
from cnngen.spec.types import DType, Shape, TensorLayout

SIDES = (1, 2, 3, 4, 5, 7, 8, 12)
CHANNELS = (1, 2, 3, 4, 5, 6, 8, 12)
LARGEST = 2500  # elements of a value, an image
HALVES: tuple[DType, ...] = ("float16", "bfloat16")
# What a user may call a layer, although the generator, C++ or Python has a use for the name.
NAMES = (
    "y",
    "at",
    "int",
    "pass",
    "batch",
    "conv 1",
    "conv-1",
    "x'; drop",
    'say "hi"',
    "größe",
    "../../x",
    "\\n",
    "",
)
SUFFIXES = (".conv", ".pointwise", ".weight", ".scale", ".padded4", "@input", "@output", ".2", "_batch2")


class Builder:
    """A network in the making. Shapes are kept for each batch size: what is drawn is right at all of them."""

    def __init__(self, rng: random.Random, batches: tuple[int, ...], storage: DType | None) -> None:
        self.rng, self.batches, self.storage = rng, batches, storage
        self.inputs: dict[str, dict[str, Any]] = {}
        self.layers: list[LayerBase] = []
        self.shapes: dict[str, tuple[Shape, ...]] = {}

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) >= 100 - percent

    def dtype(self, usual: DType = "float32") -> DType:
        return self.rng.choice(HALVES) if self.storage is None and self.chance(15) else usual

    def add_inputs(self) -> None:
        rng = self.rng
        for number in range(2 if self.chance(20) else 1):
            shape = [self.batches[0], rng.choice(CHANNELS), rng.choice(SIDES), rng.choice(SIDES)]
            if number or self.chance(10):
                shape = shape[: rng.choice((2, 3, 4))]
            name = ("image", "more")[number]
            self.inputs[name] = {"shape": shape, "layout": self.layout(shape), "dtype": self.dtype()}
            self.shapes[name] = tuple((batch, *shape[1:]) for batch in self.batches)

    def shape(self, name: str) -> Shape:
        return self.shapes[name][0]

    def pick(self, rank: int | None = None) -> str:
        """A value, most often a late one; any rank where there is none of that one."""
        names = [name for name, (shape, *_) in self.shapes.items() if len(shape) == (rank or len(shape))]
        names = names or [*self.shapes]
        return names[-1] if not self.chance(40) else self.rng.choice(names)

    def beside(self, name: str, fits: Callable[[Shape, Shape], bool]) -> str:
        """A value whose shape fits that of `name` at every batch size; `name` itself fits."""
        pairs = {other: zip(self.shapes[name], shapes, strict=True) for other, shapes in self.shapes.items()}
        return self.rng.choice(
            [other for other, both in pairs.items() if all(fits(a, b) for a, b in both)] + [name]
        )

    def name(self, op: str) -> str:
        if self.chance(15):
            number = self.rng.randrange(len(NAMES) + len(SUFFIXES))
            known = self.rng.choice([*self.shapes])
            odd = NAMES[number] if number < len(NAMES) else known + SUFFIXES[number - len(NAMES)]
            if odd and odd not in self.shapes:
                return odd
        return f"{op}{len(self.layers)}"

    def add(self, op: str, *inputs: str, **fields: object) -> str:
        """A layer; the name of its first input instead where the shapes do not allow it."""
        raw: dict[str, Any] = {"name": self.name(op), "op": op, **fields}
        if not (inputs and self.layers and inputs == (self.layers[-1].name,)):
            raw["inputs"] = inputs or None
        if self.storage is None and self.chance(8):
            raw["precision"] = self.rng.choice(("float32", *HALVES))
        layer = OPS[op].model_validate(raw)
        sources = [[self.shapes[name][i] for name in inputs] or [(n,)] for i, n in enumerate(self.batches)]
        try:
            shapes = tuple(layer.output_shape(shapes) for shapes in sources)
        except ShapeError:
            return inputs[0]
        too_large = any(int(np.prod(shape[1:])) > LARGEST for shape in shapes)
        mixes = any(layer.mixes_items(shapes) for shapes in sources)
        if mixes or too_large or len({str(layer.parameters(shapes)) for shapes in sources}) > 1:
            return inputs[0]
        self.layers.append(self._with_shared_weights(layer, layer.parameters(sources[0])))
        self.shapes[layer.name] = shapes
        return layer.name

    def _with_shared_weights(self, layer: LayerBase, parameters: Mapping[str, Shape]) -> LayerBase:
        if not isinstance(layer, Conv2d | Linear):
            return layer
        for other in self.layers:
            if isinstance(other, type(layer)) and self._parameters(other) == parameters and self.chance(20):
                bias = other.weight_name("bias") if layer.bias else False
                return layer.model_copy(update={"weight": other.weight_name("weight"), "bias": bias})
        return layer

    def _parameters(self, layer: LayerBase) -> dict[str, Shape]:
        return layer.parameters([self.shape(name) for name in self.sources(layer)])

    def sources(self, layer: LayerBase) -> list[str]:
        place = self.layers.index(layer)
        return list(layer.sources if layer.sources is not None else [self.layers[place - 1].name])

    def outputs(self) -> list[dict[str, Any]]:
        """One to three layers that keep the batch in axis 0."""
        whole = [
            layer.name
            for layer in self.layers
            if tuple(s[0] for s in self.shapes[layer.name]) == self.batches
        ]
        chosen = dict.fromkeys([whole[-1], *(self.rng.choice(whole) for _ in range(2) if self.chance(25))])
        return [
            {"layer": name, "dtype": self.dtype(), "layout": self.layout(self.shape(name))} for name in chosen
        ]

    def layout(self, shape: Sequence[int]) -> TensorLayout:
        return "NHWC" if len(shape) == 4 and self.chance(40) else "NCHW"
