"""Every example, built for the CPU without a warning and executed: it gives what its plan's interpreter computes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cnngen
from cnngen.codegen.build import build_project
from cnngen.codegen.generate import plan_spec
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.project import generate_project
from cnngen.codegen.storage import from_memory, to_memory
from cnngen.codegen.targets import CPU

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize("name", ["tiny", "resnet50", "mobilenet_v2", "matting"])
def test_example_runs_on_the_cpu(
    name: str, example: Callable[..., Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spec = example(name)
    result = build_project(generate_project(spec, tmp_path / "cpu", target=CPU), warnings_are_errors=True)
    request.addfinalizer(lambda: sys.modules.pop(name, None))
    network = cnngen.load(result.project).Network()
    plan = plan_spec(spec, target=CPU)
    graph = plan.batches[0].graph
    rng = np.random.default_rng(1)
    inputs = {value.name: rng.standard_normal(value.shape) for value in graph.inputs}
    wanted = interpret_plan(plan, 0, inputs)
    got = network(*(to_memory(inputs[value.name], value) for value in graph.inputs))
    results = got if isinstance(got, tuple) else (got,)
    for output, array in zip(graph.outputs, results, strict=True):
        value = graph.values[output]
        error = from_memory(array.reshape(-1), value).astype(np.float64) - wanted[output]
        assert np.linalg.norm(error) <= 1e-5 * np.linalg.norm(wanted[output])
