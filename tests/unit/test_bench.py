"""What bench/throughput.py does without a GPU: networks of every input type, and how passes are driven and counted."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import cnngen
from cnngen.spec import dump_spec, save_weights

from .spec.onnx_models import W, node, save

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def throughput() -> ModuleType:
    spec = importlib.util.spec_from_file_location("throughput", BENCH / "throughput.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_network_takes_images_of_every_type(throughput: ModuleType, tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "a-model.onnx", [node("Conv", "x c.weight c.bias", "y")], W, shape=("N", 3, 8, 10))
    spec, weights = throughput.describe(path, dtype, 64)
    assert spec.name == f"a_model_{dtype}"
    assert spec.batch_sizes == (64,)
    (tmp_path / "spec.yaml").write_text(dump_spec(spec))
    save_weights(tmp_path / spec.weights, weights)
    text = (cnngen.generate(tmp_path / "spec.yaml", tmp_path, target="cuda") / "__init__.py").read_text()
    assert re.search(rf'"x": \(\(8, 10, 3\), "{dtype}"\)', text)


class Pipeline:
    """Gives back what it takes."""

    contexts = 3

    def __init__(self) -> None:
        self.passes: deque[Any] = deque()
        self.taken: list[Any] = []

    @property
    def pending(self) -> int:
        return len(self.passes)

    def submit(self, *arrays: Any) -> None:  # noqa: ANN401
        assert self.pending < self.contexts
        self.passes.append(arrays)

    def next(self) -> None:
        self.taken.append(self.passes.popleft())

    def map(self, items: Any, *, progress: bool) -> Any:  # noqa: ANN401
        assert not progress
        return (self.taken.append(item) or item for item in items)


def test_passes_are_driven_in_order_and_counted(
    throughput: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # each look at it is a second later
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    sources = [(np.full(4, i), np.full(4, -i)) for i in range(6)]
    pipeline = Pipeline()
    passes = throughput.batches_of(pipeline, itertools.cycle(sources))
    assert throughput.timed(passes, seconds=10, warm_up=5) == pytest.approx(11 / 9 * 1e3)
    assert pipeline.pending == 0
    assert len(pipeline.taken) >= 5 + 9
    assert [arrays[0][0] for arrays in pipeline.taken] == [i % 6 for i in range(len(pipeline.taken))]

    pipeline = Pipeline()
    passes = throughput.batches_of_map(pipeline, itertools.cycle(sources), batch=4)
    assert [next(passes) for _ in range(7)] == [None] * 7
    assert len(pipeline.taken) == 7 * 4
    assert pipeline.taken[5] == (1, -1)


def test_the_share_is_of_the_larger_bound(throughput: ModuleType) -> None:
    row = {"network": "net", "dtype": "float16", "batch": 64, "compute": 1.9, "there": 0.35, "back": 0.05}
    row |= {"bound": 1.9, "feed": "map", "contexts": 3, "ms": 2.0}
    assert throughput.table([row]).splitlines()[-1].endswith("| map | 3 | 2.000 | 32000 | 95% |")
