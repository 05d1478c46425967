"""What tests on the CPU share: a compiled network against the interpreter of its plan, which computes in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cnngen.codegen.graph import LIBRARIES
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.plan import make_plan
from cnngen.codegen.storage import NUMPY_TYPES, from_memory, to_memory
from cnngen.codegen.targets import CPU
from cnngen.spec.types import DType

from ..bundle import Bundle
from ..machine import WITHOUT_BFLOAT16, has_bfloat16
from ..unit.codegen.networks import Network

TOLERANCE: dict[DType, float] = {"float32": 1e-5, "bfloat16": 1e-1}


def check(bundle: Bundle, network: Network) -> None:
    """Runs a network of the bundle at each of its batch sizes; raises AssertionError with its spec."""
    plan = make_plan(network.spec, network.weights, CPU)
    steps = [node for batch in plan.batches for node in batch.steps if node.form in LIBRARIES]
    if any(node.value.dtype == "bfloat16" for node in steps) and not has_bfloat16():
        pytest.skip(WITHOUT_BFLOAT16)
    net = bundle.network(network.spec, network.weights)
    for index, batch in enumerate(plan.batches):
        inputs = network.inputs(batch.graph)
        wanted = interpret_plan(plan, index, inputs)
        got = net(*(to_memory(inputs[value.name], value) for value in batch.graph.inputs))
        results = got if isinstance(got, tuple) else (got,)
        for name, array in zip(batch.graph.outputs, results, strict=True):
            value = batch.graph.values[name]
            flat = np.asarray(array).view(NUMPY_TYPES[value.dtype]).reshape(-1)
            result = from_memory(flat, value).astype(np.float64)
            norm = max(float(np.linalg.norm(wanted[name])), 1e-6)
            error = float(np.linalg.norm(result - wanted[name])) / norm
            limit = TOLERANCE[plan.computed.precision.storage]
            assert error <= limit, f"{name} at batch {batch.batch}: {error:.1e}\n{network!r}"
