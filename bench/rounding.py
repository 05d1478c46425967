"""What float16 storage alone costs a network, in exact arithmetic: ONNX [SEED].

    python bench/rounding.py model.onnx

Runs the graph in float64, and the same graph with every stored value and weight rounded to float16, in numpy. No
implementation that stores float16 can be expected to be nearer to the exact result. Needs no GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cnngen.codegen.cost import Roofline
from cnngen.codegen.interpret import outputs
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.lower import lower
from cnngen.codegen.plan import make_plan
from cnngen.spec.network import NetworkSpec
from cnngen.spec.onnx import import_onnx


def main() -> None:
    spec, weights = import_onnx(Path(sys.argv[1]), batch_sizes=[1])
    rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    graph = lower(spec, weights, 1)
    inputs = {value.name: rng.standard_normal(value.shape) for value in graph.inputs}
    exact = outputs(graph, inputs)
    half = NetworkSpec.model_validate(spec.model_dump(exclude_unset=True) | {"precision": "float16"})
    rounded = interpret_plan(make_plan(half, weights, Roofline()), 0, inputs)
    for name, value in exact.items():
        error = np.linalg.norm(rounded[name] - value) / np.linalg.norm(value)
        print(f"{spec.name} {name.partition('@')[0]}: relative L2 of float16 storage alone {error:.1e}")


if __name__ == "__main__":
    main()
