"""The tuner of the runtime on a fake of CUDA: what it runs and times is real; only the clock is made up."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from typing import Any

import numpy as np
import pytest

from .fake import HERE, SCALE, compile_fake, write_weights
from .objects import run


@pytest.fixture(scope="module")
def tuner(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401 - compiled here, it has no types
    folder = tmp_path_factory.mktemp("tuner")
    weights = write_weights(folder / "fakenet.weights.safetensors")
    pybind = run(sys.executable, "-m", "pybind11", "--includes").split()
    library = folder / "_tuner.so"
    more = ("-shared", "-Wl,-Bsymbolic", *pybind)
    compile_fake(library, HERE / "network.cpp", HERE / "tuner.cpp", more=more)
    spec = importlib.util.spec_from_file_location("_tuner", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Tuner(str(weights), 0, [(0, 256), (256, 12)], [1 << 20, 1], 1 << 20)


def test_steps_are_those_of_a_pass(tuner: Any) -> None:  # noqa: ANN401
    assert tuner.steps(0) == [("load", False), ("scale", False), ("plus", False), ("out", False)]


def test_a_step_writes_what_it_computes_of_what_lies_in_the_arena(tuner: Any) -> None:  # noqa: ANN401
    tuner.keep(0, 1, "")
    assert tuner.difference(0, 1) == 0
    tuner.keep(0, 0, "")  # as many elements
    assert tuner.difference(0, 1) > 0.1
    tuner.keep(0, 2, "")  # a slice of wider pixels
    assert tuner.difference(0, 3) == 0


@pytest.mark.parametrize("plan", [0, 1])
def test_a_step_is_timed_with_copies_of_its_weights_where_the_network_finds_them_in_memory(
    tuner: Any,  # noqa: ANN401
    plan: int,
) -> None:
    assert tuner.glance(plan, 1, "") == 1000
    us, spread = tuner.measure(plan, 1, "", 4, float("inf"))
    assert 0 < us <= 1000  # the fake's clock: a millisecond for all launches of a graph
    assert spread == 0
    assert tuner.measure(plan, 1, "", 4, 0.0)[0] == us


def test_a_pass_takes_its_steps_from_other_plans_and_gives_the_outputs(tuner: Any) -> None:  # noqa: ANN401
    assert tuner.measure_pass(0, [(0, "", 0, []), (0, "", 0, [])], 3)[0] == 1000
    draw = np.random.default_rng(0)
    a, b = draw.random((4, 3), np.float32), draw.random((4, 2, 2, 2), np.float32)
    scaled, plus = np.empty_like(a), np.empty_like(b)
    own = [(1, "", 0, []) for _ in tuner.steps(1)]
    beside = [*own[:2], (1, "", 1, [0]), (1, "", 1, [])]
    for steps, one_by_one in itertools.product(([], own, beside), (False, True)):
        scaled[:], plus[:] = -1, -1
        tuner.run_pass(1, steps, [a, b], [scaled, plus], one_by_one)
        np.testing.assert_array_equal(scaled, a * SCALE)
        np.testing.assert_array_equal(plus, b + 1)


def test_a_kernel_has_no_engines(tuner: Any) -> None:  # noqa: ANN401
    with pytest.raises(RuntimeError, match="step 'load' is a kernel: it has no engines"):
        tuner.engines(0, 0)


def test_what_it_runs_on_is_told(tuner: Any) -> None:  # noqa: ANN401
    assert tuner.versions().keys() == {"gpu", "capability", "driver", "cuda", "cudnn", "cublaslt"}
    assert tuner.versions()["gpu"] == "Fake GPU"
