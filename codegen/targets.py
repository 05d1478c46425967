"""What a network can run on: what is said here once, passes and emission ask.

A target's own text lies in `templates/<name>/` and `include/cnngen/<name>/`; everything else is shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cnngen.spec.network import NetworkSpec
from cnngen.spec.types import DType, ElementType, Precision

TargetName = Literal["cuda", "cpu"]


@dataclass(frozen=True, eq=False)
class Target:
    """A kind of device, and what makes plans for it differ."""

    name: TargetName
    libraries: str  # what runs convolutions and matmuls, in words
    elements: Mapping[ElementType, str]  # the C++ type of each element type
    storage: Mapping[DType, DType]  # what is stored in place of a type that the device does not compute with
    pads_channels: bool  # whether convolutions read full groups of channels faster, zeros included

    def precision(self, wanted: Precision) -> Precision:
        """The precision as the target has it."""
        storage = self.storage.get(wanted.storage, wanted.storage)
        return Precision(storage=storage, tf32=wanted.tf32 and self.name == "cuda")

    def adapt(self, spec: NetworkSpec) -> NetworkSpec:
        """The network as it is computed: its types are the target's. Inputs and outputs keep the user's."""
        layers = [
            layer.model_copy(update={"precision": self.precision(layer.precision)})
            if layer.precision is not None
            else layer
            for layer in spec.layers
        ]
        return spec.model_copy(update={"precision": self.precision(spec.precision), "layers": tuple(layers)})


_WHOLE: Mapping[ElementType, str] = {
    "int32": "int",
    "int64": "std::int64_t",
    "uint8": "std::uint8_t",
    "bool": "bool",
}

CUDA = Target(
    "cuda",
    "cuDNN and cuBLASLt",
    {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", **_WHOLE},
    storage={},
    pads_channels=True,
)
CPU = Target(
    "cpu",
    "oneDNN",
    {"float32": "float", "float16": "cnngen::float16", "bfloat16": "cnngen::bfloat16", **_WHOLE},
    storage={"float16": "float32"},
    pads_channels=False,
)
TARGETS: Mapping[TargetName, Target] = {target.name: target for target in (CUDA, CPU)}
