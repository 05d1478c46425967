"""What float16 storage alone costs a network, in exact arithmetic.

    python bench/rounding.py model.onnx     on the inputs of model.npz (in_<input>)

Runs the graph in float64, and the same graph with every stored value and weight rounded to float16, in numpy. No
implementation that stores float16 can be expected to be nearer to the exact result. Needs no GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cnngen.codegen.interpret import outputs
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.lower import lower
from cnngen.codegen.plan import make_plan
from cnngen.spec.network import NetworkSpec
from cnngen.spec.onnx import import_onnx


def main() -> None:
    model = Path(sys.argv[1])
    stored = np.load(model.with_suffix(".npz"))
    feeds = {key.removeprefix("in_"): stored[key] for key in stored.files if key.startswith("in_")}
    spec, weights = import_onnx(model, shapes={key: array.shape for key, array in feeds.items()})
    graph = lower(spec, weights, spec.batch_sizes[0])
    inputs = {
        value.name: array.astype(np.float64)
        for value, array in zip(graph.inputs, feeds.values(), strict=True)
    }
    exact = outputs(graph, inputs)
    half = NetworkSpec.model_validate(spec.model_dump(exclude_unset=True) | {"precision": "float16"})
    rounded = interpret_plan(make_plan(half, weights), 0, inputs)
    for name, value in exact.items():
        error = np.linalg.norm(rounded[name] - value) / np.linalg.norm(value)
        print(f"{spec.name} {name.partition('@')[0]}: relative L2 of float16 storage alone {error:.1e}")


if __name__ == "__main__":
    main()
