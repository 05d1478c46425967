"""A seeded sample of ONNX's own cases on the GPU, compiled into one module: each operator, and some of everything."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from onnx.backend.test.runner import Runner

from cnngen.codegen.onnx_backend import Prepared
from cnngen.codegen.targets import CUDA

from ..bundle import Bundle, build_bundle, bundle_folder
from ..conformance.cases import Case, node_cases, pytorch_cases, sources
from ..conformance.exclusions import reason

COUNT = 250
ATOL = 1e-6  # of sums in another order than the reference's


def sample() -> Sequence[Case]:
    rng = random.Random(0)  # noqa: S311 (a sample)
    cases = [case for case in (*node_cases(), *pytorch_cases()) if reason(case) is None]
    rng.shuffle(cases)
    single = [case for case in cases if case.group == "single"]
    of_each = {case.operator: case for case in [*(case for case in cases if case not in single), *single]}
    first = list(of_each.values())
    return [*first, *(case for case in cases if case not in first)][:COUNT]


SAMPLE = sample()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build_bundle(sources(SAMPLE), bundle_folder("gpu"), CUDA, files=16)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, where ONNX compares infinities
@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: str(case.name))
def test_gives_the_stored_outputs(case: Case, bundle: Bundle) -> None:
    model = Prepared(case.model, "cuda", lambda spec, weights, _target: bundle.network(spec, weights))
    for inputs, expected in case.data_sets:
        Runner.assert_similar_outputs(expected, model.run(inputs), case.rtol, max(case.atol, ATOL))
