"""Imports an ONNX model as a spec that a person could have written, and its weights.

The nodes are walked in order. A value is a constant (an array), or a tensor that some layer makes; whatever
depends on constants and shapes alone is evaluated on the way. What is left is rewritten to the spec's own
forms and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from cnngen.spec.importing.patterns import simplify
from cnngen.spec.importing.write import network_name, write
from cnngen.spec.manifest import Array
from cnngen.spec.network import NetworkSpec
from cnngen.spec.onnx.load import load_model
from cnngen.spec.onnx.walk import walk

__all__ = ["import_onnx"]


def import_onnx(
    path: str | PathLike[str],
    name: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of an ONNX model (opset 9 and newer).

    Args:
        path: the .onnx file.
        name: of the network; default: made from the file's name.
        batch_sizes: default: the model's own batch, 1 where it is dynamic.
        shapes: the shape of each input that has dynamic axes beyond the batch.

    Raises:
        ImportModelError: the file cannot be read, an axis has no size, or nodes cannot be expressed: all of
            them, each with its name and the reason.
    """
    file = Path(path)
    imported = simplify(walk(load_model(file, shapes or {})))
    return write(imported, name or network_name(file.stem), batch_sizes, str(file))
