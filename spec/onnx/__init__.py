"""Imports an ONNX model as a spec that a person could have written, and its weights.

The nodes are walked in order. A value is a constant (an array), or a tensor that some layer makes; whatever
depends on constants and shapes alone is evaluated on the way. What is left is rewritten to the spec's own
forms and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from cnngen.spec.importing.patterns import simplify
from cnngen.spec.importing.profiles import InputShapes, check_shapes, merge, profiles_of
from cnngen.spec.importing.write import network_name, write
from cnngen.spec.manifest import Array
from cnngen.spec.network import NetworkSpec
from cnngen.spec.onnx.load import load_model
from cnngen.spec.onnx.walk import walk

if TYPE_CHECKING:
    import onnx

__all__ = ["import_onnx"]


def import_onnx(
    model: str | PathLike[str] | onnx.ModelProto,
    name: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    shapes: InputShapes | None = None,
    constants: Mapping[str, Array] | None = None,
    batched: bool | None = None,
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of an ONNX model (opset 6 and newer).

    Args:
        model: the .onnx file, or the model itself.
        name: of the network; default: made from the file's name, or the graph's.
        batch_sizes: default: the model's own batch, 1 where it is dynamic.
        shapes: the shape of each input that has dynamic axes beyond the batch; several of an input, or several
            such mappings, are as many profiles of one network.
        constants: inputs that are to be constants, such as shapes and axes, and their values.
        batched: whether axis 0 is the batch; default: where every layer takes it so.

    Raises:
        ImportModelError: the file cannot be read, an axis has no size, or nodes cannot be expressed, or not for
            all profiles: all of them, each with its name and the reason. Its `needs_constant` names the inputs
            that would have to be constants.
    """
    source = Path(model) if isinstance(model, (str, PathLike)) else model
    stem = source.stem if isinstance(source, Path) else source.graph.name
    where = str(source) if isinstance(source, Path) else None
    profiles = [
        simplify(walk(load_model(source, profile, constants or {}))) for profile in profiles_of(shapes, where)
    ]
    spec, weights = write(
        merge(profiles, where),
        name or network_name(stem),
        batch_sizes,
        where,
        batched,
        profiles=[{draft.name: draft.shape for draft in profile.inputs} for profile in profiles[1:]],
    )
    check_shapes(spec, profiles, where)
    return spec, weights
