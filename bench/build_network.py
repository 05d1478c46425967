"""Imports an ONNX network and builds it: ONNX NAME PRECISION BATCHES FOLDER ARCH (used by gpu.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import cnngen
from cnngen.codegen.build import BuildResult
from cnngen.spec import NetworkSpec, dump_spec, save_weights
from cnngen.spec.manifest import Array
from cnngen.spec.onnx import import_onnx


def main() -> None:
    onnx, name, precision, batches, folder, arch = sys.argv[1:]
    spec, weights = import_onnx(
        Path(onnx), name=name, batch_sizes=[int(batch) for batch in batches.split(",")]
    )
    data = spec.model_dump(exclude_unset=True)
    data["precision"] = precision
    if precision == "float16":  # like the peer: float16 and channels-last outside too
        for tensor in data["inputs"].values():
            tensor |= {"dtype": "float16", "layout": "NHWC"}
        data["outputs"] = [{"layer": spec.layers[-1].name, "dtype": "float16"}]
    spec = type(spec).model_validate(data)
    build(spec, weights, Path(folder), arch)


def build(spec: NetworkSpec, weights: dict[str, Array], folder: Path, arch: str) -> BuildResult:
    """Builds an imported network for a GPU in `folder`, from its files in `folder`/specs."""
    source = folder / "specs" / spec.name
    source.mkdir(parents=True, exist_ok=True)
    (source / "spec.yaml").write_text(dump_spec(spec))
    save_weights(source / (spec.weights or "weights.safetensors"), weights)
    return cnngen.build(source / "spec.yaml", folder, target="cuda", arch=[arch])


if __name__ == "__main__":
    main()
