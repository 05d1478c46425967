"""ONNX's own backend tests over `cnngen.onnx_backend`, on the CPU target, their networks compiled into one module.

What counts: of the 562 cases of one CNN operator at least 510, of the 480 written out by function bodies 330, of
PyTorch's 117 105. The lists in exclusions.py say which cases are left out, and why.
"""

from __future__ import annotations

import unittest
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.backend.test import BackendTest

from cnngen import onnx_backend
from cnngen.codegen.onnx_backend import (
    Backend,
    Network,
    build_network,
    cache_folder,
    feeds_of,
    import_model,
)
from cnngen.codegen.targets import TargetName
from cnngen.spec import ImportModelError, NetworkSpec

from ..bundle import Bundle, build_bundle, bundle_folder
from ..machine import WITHOUT_BFLOAT16, has_bfloat16
from .cases import COUNTS, Array, Case, light_models, node_cases, pytorch_cases, sources
from .exclusions import reason

ATLEAST = {"single": 510, "expanded": 330, "pytorch": 105}

CASES = (*node_cases(), *pytorch_cases())
INCLUDED = [case for case in CASES if reason(case) is None]
EXCLUDED = [case for case in CASES if reason(case) is not None]

# of numpy, where ONNX compares infinities
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Prebuilt(Backend):
    """The backend with networks out of one module; what is not there is built alone."""

    bundle: Bundle

    @staticmethod
    def make(spec: NetworkSpec, weights: Mapping[str, Array], target: TargetName) -> Network:
        if (spec, weights) in Prebuilt.bundle:
            return Prebuilt.bundle.network(spec, weights)
        return build_network(spec, weights, target)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


@pytest.fixture(scope="module", autouse=True)
def bundle() -> Bundle:
    Prebuilt.bundle = build_bundle(sources(INCLUDED), bundle_folder("conformance"))
    return Prebuilt.bundle


def _backend_tests() -> Mapping[str, type[unittest.TestCase]]:
    """ONNX's test classes with the tests that are included; the others would be a thousand lines of skips."""
    tests = BackendTest(Prebuilt, __name__).test_cases
    included = {f"{case.name}_cpu" for case in INCLUDED}
    for cls in tests.values():
        for name in [name for name in vars(cls) if name.startswith("test_") and name not in included]:
            delattr(cls, name)
        for name in [name for name in vars(cls) if "_bf16" in name and not has_bfloat16()]:
            setattr(cls, name, unittest.skip(WITHOUT_BFLOAT16)(getattr(cls, name)))
    return tests


globals().update(_backend_tests())


def test_counts() -> None:
    every, included = (Counter(case.group for case in cases) for cases in (CASES, INCLUDED))
    if onnx.__version__.startswith("1.23."):
        assert {group: every[group] for group in COUNTS} == COUNTS
    assert all(included[group] >= least for group, least in ATLEAST.items()), included


def test_every_network_is_in_the_module(bundle: Bundle) -> None:
    assert not bundle.refused
    assert all(source in bundle for source in sources(INCLUDED[:50]))


@pytest.mark.parametrize("why", sorted({str(reason(case)) for case in EXCLUDED}))
def test_what_is_excluded_is_refused(why: str) -> None:
    runs = [case.name for case in EXCLUDED if reason(case) == why and not _is_refused(case)]
    assert not runs


def _is_refused(case: Case) -> bool:
    try:
        for inputs, _ in case.data_sets:
            import_model(case.model, feeds_of(case.model, inputs))
    except ImportModelError:
        return True
    return False


def test_inputs_that_only_constants_can_be_are_told() -> None:
    model = next(case for case in CASES if case.name == "test_reshape_reordered_all_dims")
    prepared = Prebuilt.prepare(model.model)
    (inputs, (expected,)), = model.data_sets  # fmt: skip
    (y,) = prepared.run(inputs)
    np.testing.assert_array_equal(y, expected)
    assert prepared.constants == ("shape",)


@pytest.mark.parametrize("file", light_models(), ids=lambda file: str(file.stem))
def test_light_models_import(file: Path) -> None:
    assert Prebuilt.is_compatible(onnx.load(file))


@pytest.mark.cpu
def test_a_model_is_built_alone_where_it_is_in_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    node = onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])
    (y,) = onnx_backend.run_node(node, [x, np.array([3, 2])])
    np.testing.assert_array_equal(y, x.reshape(3, 2))
    projects = list(cache_folder().glob("cpu/model_*/_core*"))
    assert len(projects) == 1
