"""Imports an ONNX model, builds it, and runs it on the inputs of its .npz (used by models.py).

ONNX NAME PRECISION FOLDER ARCH
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from build_network import build

import cnngen
from cnngen.spec.onnx import import_onnx


def main() -> None:
    onnx, name, precision, folder, arch = sys.argv[1:]
    stored = np.load(Path(onnx).with_suffix(".npz"))
    inputs = {key.removeprefix("in_"): stored[key] for key in stored.files if key.startswith("in_")}
    spec, weights = import_onnx(
        Path(onnx), name=name, shapes={key: array.shape for key, array in inputs.items()}
    )
    spec = type(spec).model_validate(spec.model_dump(exclude_unset=True) | {"precision": precision})
    built = build(spec, weights, Path(folder), arch)
    results = cnngen.load(built.project).Network()(*inputs.values())
    outputs = results if isinstance(results, tuple) else (results,)
    keys = [key for key in stored.files if key.startswith("out_")]
    np.savez(Path(folder) / f"{name}.npz", **dict(zip(keys, outputs, strict=True)))


if __name__ == "__main__":
    main()
