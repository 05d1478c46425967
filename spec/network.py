"""The spec of a network: what a user writes."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from cnngen.spec.names import module_name
from cnngen.spec.ops import Layer
from cnngen.spec.ops.base import Name
from cnngen.spec.types import (
    ElementType,
    Flag,
    Model,
    Positive,
    Precision,
    PrecisionField,
    Shape,
    TensorLayout,
)


class _Tensor(Model):
    layout: TensorLayout = Field(
        default="NCHW", description="order of the user's array; NHWC needs four axes"
    )
    dtype: ElementType = Field(default="float32", description="element type of the user's array")


class InputSpec(_Tensor):
    """An input of the network. `shape` is [N, C, H, W] even where the layout, and so the array, is NHWC."""

    shape: tuple[Positive, ...] = Field(
        min_length=1, description="[N, C, H, W], or [N, ...] of another rank; a scalar is [1]"
    )

    @model_validator(mode="after")
    def _nhwc_is_an_image(self) -> InputSpec:
        if self.layout == "NHWC" and len(self.shape) != 4:
            raise PydanticCustomError(
                "layout", "layout NHWC needs a shape [N, C, H, W], got {got}", {"got": str(list(self.shape))}
            )
        return self


class OutputSpec(_Tensor):
    """An output of the network: a layer, and how its result is handed out."""

    layer: Name = Field(description="the layer whose output it is")


def _output(value: object) -> object:
    if isinstance(value, (dict, OutputSpec)):
        return value
    if isinstance(value, str):
        return {"layer": value}
    raise PydanticCustomError(
        "output",
        "expected a layer's name or {layer: ..., layout: ..., dtype: ...}, got {got}",
        {"got": repr(value)},
    )


OutputField = Annotated[OutputSpec, BeforeValidator(_output, json_schema_input_type=str | OutputSpec)]


def _network_name(text: str) -> str:
    try:
        return module_name(text)
    except ValueError as error:
        raise PydanticCustomError("network_name", "{why}", {"why": str(error)}) from None


def _weight_path(text: str) -> str:
    path = PurePosixPath(text)
    inside = not path.is_absolute() and ".." not in path.parts and not any(c in text for c in '\\:"\n')
    if not inside or path.suffix not in (".safetensors", ".manifest", ".txt"):
        raise PydanticCustomError(
            "weights",
            "expected a .safetensors, .manifest or .txt file in the spec's folder or below it, got {got}",
            {"got": repr(text)},
        )
    return text


def _batch_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(sizes)) != len(sizes):
        raise PydanticCustomError(
            "batch_sizes", "each batch size may stand once, got {got}", {"got": str(list(sizes))}
        )
    return tuple(sorted(sizes))


def _own_batch(data: dict[str, Any]) -> tuple[int, ...]:
    # there are no inputs here where they are wrong; the spec is refused for that
    if not data.get("batched", True):
        return (1,)
    return next(((tensor.shape[0],) for tensor in data.get("inputs", {}).values()), ())


class NetworkSpec(Model):
    """A network: inputs, layers in execution order, outputs, and how it is to be computed."""

    name: Annotated[str, AfterValidator(_network_name)] = Field(
        description="the Python module's and the C++ namespace's name"
    )
    inputs: dict[Name, InputSpec] = Field(min_length=1, description="the network's inputs by name")
    precision: PrecisionField = Field(
        default=Precision(), description="storage type, or {storage, compute, tf32}; a layer may have its own"
    )
    batched: Flag = Field(
        default=True,
        description="whether axis 0 of every input and output is the batch, whose items do not meet; "
        "false: it is an axis like the others, and shapes are as they are",
    )
    batch_sizes: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_batch_sizes)] = Field(
        default_factory=_own_batch, description="a plan and a captured graph each; default: the inputs' own"
    )
    profiles: tuple[Annotated[dict[Name, tuple[Positive, ...]], Field(min_length=1)], ...] = Field(
        default=(),
        description="further shapes that the inputs may have: for each profile {input: shape} of those that change; "
        "profiles share the weights and have the same batch sizes",
    )
    weights: Annotated[str, AfterValidator(_weight_path)] | None = Field(
        default=None, description="weight file, relative to the spec: .safetensors, or a text manifest"
    )
    layers: tuple[Layer, ...] = Field(min_length=1, description="in execution order")
    outputs: tuple[OutputField, ...] = Field(
        default=(), description="layers to hand out; default: the last layer"
    )

    @model_validator(mode="after")
    def _batch_sizes_are_of_a_batch(self) -> NetworkSpec:
        if not self.batched and self.batch_sizes != (1,):
            raise PydanticCustomError(
                "batched",
                "batched: false says that there is no batch, so leave out batch_sizes, got {got}",
                {"got": str(list(self.batch_sizes))},
            )
        return self

    @property
    def profile_count(self) -> int:
        """How many shapes the inputs may have: their own are profile 0."""
        return 1 + len(self.profiles)

    def input_shapes(self, profile: int, batch: int | None = None) -> dict[str, Shape]:
        """The shapes of all inputs in a profile, with `batch` in axis 0 where there is one and it is given."""
        given = self.profiles[profile - 1] if profile else {}
        shapes = {name: given.get(name, tensor.shape) for name, tensor in self.inputs.items()}
        if batch is None or not self.batched:
            return shapes
        return {name: (batch, *shape[1:]) for name, shape in shapes.items()}
