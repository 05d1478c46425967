"""A machine that is made up: it says how long each step takes by each engine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.graph import LIBRARIES, Array, Node
from cnngen.codegen.plan import Plan
from cnngen.codegen.tiles import picked, tile_text
from cnngen.codegen.tuning import tune as tuning
from cnngen.codegen.tuning.module import Candidates, PassStep
from cnngen.codegen.verify import verify
from cnngen.spec import dump_spec, save_weights

from .networks import Network, network

MACHINE = {
    "gpu": "Fake GPU",
    "capability": "9.0",
    "driver": "13.0",
    "cuda": "13.0",
    "cudnn": "9.19.0",
    "cublaslt": "1",
}
LIBRARY = ("cudnn 1 2=0", "cudnn 7", "cublaslt 3 tile=2")
FALLBACK = "cudnn 0"
NET = network(
    {"name": "a", "op": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "activation": "relu"},
    {"name": "b", "op": "conv2d", "out_channels": 16, "kernel": 1, "activation": "silu"},
    {"name": "pool", "op": "max_pool2d", "kernel": 2},
    {"name": "c", "op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1, "groups": 8},
    {"name": "mean", "op": "global_avg_pool", "keepdims": False},
    {"name": "fc", "op": "linear", "out_features": 16},
    shape=(1, 3, 16, 16),
    precision="float16",
    batch_sizes=[1, 4],
)  # fmt: skip

Clock = Callable[[Node, str], float]  # microseconds of a step by an engine


def by_digest(node: Node, engine: str) -> float:
    """Between 1 and 9, the same for the same words."""
    text = f"{node.layers} {type(node.op).__name__} {node.form} {engine}"
    return 1 + int(hashlib.sha256(text.encode()).hexdigest()[:4], 16) % 800 / 100


class FakeTuner:
    """Times by a clock; counts what it is asked."""

    off = 0.0  # of what passes compute
    wait = 1.0  # microseconds, for another stream
    broken: Mapping[str, str] = {}  # what raises, and for which engine

    def __init__(self, plan: Plan, clock: Clock, wrong: str = "") -> None:
        self.plan, self.clock, self.wrong = plan, clock, wrong
        self.measured = 0
        self.saved: list[list[str]] = []

    def node(self, plan: int, step: int) -> Node:
        return self.plan.batches[plan].steps[step]

    def time(self, plan: int, step: int, engine: str) -> float:
        """By what runs it in the end: without an engine the first one."""
        node, batch = self.node(plan, step), self.plan.batches[plan]
        options = tile_options(node, batch.graph, batch.batch)
        if node.form in LIBRARIES:
            engine = engine or node.engine or LIBRARY[0]
        elif options:
            engine = f"{node.form} {tile_text(picked(node.engine, options))}"
        return self.clock(replace(node, engine=""), engine)

    def break_down(self, method: str, engine: str) -> None:
        if self.broken.get(method) == engine:
            raise RuntimeError("cuDNN: running a plan: no texture")

    def steps(self, plan: int) -> list[tuple[str, bool]]:
        return [(node.name, bool(node.form)) for node in self.plan.batches[plan].steps]

    def prepare(self, plan: int, step: int) -> None:
        assert self.node(plan, step).form in LIBRARIES

    def engines(self, plan: int, step: int) -> list[str]:
        return list(LIBRARY)

    def fallbacks(self, plan: int, step: int) -> list[str]:
        return [*LIBRARY[:1], FALLBACK]

    def variations(self, plan: int, step: int, engine: str, most: int) -> list[str]:
        return ["cudnn 1 2=1"] if engine == LIBRARY[0] else []

    def workspace(self, plan: int, step: int, engine: str) -> int:
        return 256 if engine.startswith("cudnn 7") else 0

    def error(self, plan: int, step: int, engine: str) -> float:
        return 0.5 if engine == self.wrong else 1e-4

    def keep(self, plan: int, step: int, engine: str) -> None:
        pass

    def difference(self, plan: int, step: int) -> float:
        return 0.0

    def glance(self, plan: int, step: int, engine: str) -> float:
        self.break_down("glance", engine)
        return self.time(plan, step, engine)

    def measure(
        self, plan: int, step: int, engine: str, launches: int, no_more: float
    ) -> tuple[float, float]:
        self.break_down("measure", engine)
        self.measured += 1
        return self.time(plan, step, engine), 0.0

    def measure_pass(self, plan: int, steps: Sequence[PassStep], replays: int) -> tuple[float, float]:
        """Streams run beside each other; to wait for one takes a while."""
        count = len(self.plan.batches[plan].steps)
        given = steps or [(plan, "", 0, ())] * count
        assert len(given) == count
        clocks: dict[int, float] = {}
        for step, (other, engine, stream, waits) in enumerate(given):
            begin = max([clocks.get(stream, 0.0), *(clocks.get(of, 0.0) + self.wait for of in waits)])
            clocks[stream] = begin + self.time(other, step, engine)
        return max(clocks.values()), 0.0

    def run_pass(
        self,
        plan: int,
        steps: Sequence[PassStep],
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        one_by_one: bool,
    ) -> None:
        for array in outputs:
            array[:] = 0
            array.view(np.float32)[:] = 1 + (0 if one_by_one else self.off)

    def save_plans(self, plan: int, engines: Sequence[str], folder: str) -> None:
        self.saved.append(list(engines))
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / f"{plan}.json").write_text("a plan")

    def versions(self) -> dict[str, str]:
        return dict(MACHINE)


class FakeMachine:
    """Stands for the compiler and the GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: Clock = by_digest, wrong: str = "") -> None:
        self.clock, self.wrong = clock, wrong
        self.tuners: list[FakeTuner] = []
        monkeypatch.setattr(tuning, "gpus", lambda: ["90"])
        monkeypatch.setattr(tuning, "gpu_names", lambda: [MACHINE["gpu"]])
        monkeypatch.setattr(tuning, "_driver", dict)
        monkeypatch.setattr(tuning, "build_candidates", self.build)

    def build(self, plan: Plan, *_: object) -> Candidates:
        for batch in plan.batches:
            verify(batch.graph)
        self.tuners.append(FakeTuner(plan, self.clock, self.wrong))
        return Candidates(plan, self.tuners[-1], 0)

    @property
    def measured(self) -> int:
        return sum(tuner.measured for tuner in self.tuners)


def written(drawn: Network, folder: Path) -> Path:
    spec = drawn.spec.model_copy(update={"weights": "net.safetensors"})
    save_weights(folder / "net.safetensors", drawn.weights)
    (folder / "net.yaml").write_text(dump_spec(spec))
    return folder / "net.yaml"


def tuned(path: Path, drawn: Network = NET, **options: object) -> tuning.Tuned:
    return tuning.tune(path, drawn.spec, drawn.weights, **options)
