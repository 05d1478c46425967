"""Locks that a build follows: which, how stale, and what they cannot say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnngen.codegen.generate import generate
from cnngen.codegen.lock import Lock, LockError, load_lock
from cnngen.codegen.locking import choose_lock, lock_problems
from cnngen.codegen.tuning import tune as tuning
from cnngen.spec import dump_spec

from .fake_machine import LIBRARY, NET, FakeMachine, FakeTuner, tuned, written
from .networks import Network, network


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Lock]:
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    return path, tuned(path).lock


def problems(path: Path, gpus: Sequence[str] = (), **libraries: str) -> str:
    chosen = choose_lock(path, None, gpus)
    assert chosen is not None
    plan = generate(path, lock=chosen.lock).plan
    return "\n".join(map(str, lock_problems(chosen, plan, gpus, libraries)))


def test_a_lock_of_this_network_and_machine_is_fresh(locked: tuple[Path, Lock]) -> None:
    path, _ = locked
    assert problems(path, ["Fake GPU"], cudnn="9.19.0.56") == ""


def test_a_kernel_that_a_lock_chose_writes_the_output_and_is_known_to_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeMachine(monkeypatch, lambda _node, engine: 1.0 if engine.startswith("implicit_gemm") else 9.0)
    data = {**NET.spec.model_dump(exclude_unset=True), "outputs": [{"layer": "fc", "dtype": "float16"}]}
    drawn = Network(type(NET.spec).model_validate(data), NET.weights)
    path = written(drawn, tmp_path)
    lock = tuning.tune(path, drawn.spec, drawn.weights).lock
    assert lock.plans["batch1"].steps["fc"].engine.startswith("implicit_gemm")
    assert [batch.graph.outputs for batch in generate(path, lock=lock).plan.batches] == [("fc",)] * 2
    assert problems(path) == ""


def test_a_step_that_only_one_engine_runs_is_known_to_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 there are no kernels of our own."""
    FakeMachine(monkeypatch)
    monkeypatch.setattr(FakeTuner, "engines", lambda *_: [LIBRARY[1]])
    monkeypatch.setattr(FakeTuner, "error", lambda *_: 1e-7)
    drawn = network(
        {"name": "a", "op": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1},
        shape=(1, 4, 16, 16),
    )
    path = written(drawn, tmp_path)
    plan = tuning.tune(path, drawn.spec, drawn.weights).lock.plans["batch1"]
    assert plan.steps["a"].engine == LIBRARY[1]
    assert problems(path) == ""


def test_a_lock_of_other_libraries_is_stale(locked: tuple[Path, Lock]) -> None:
    path, _ = locked
    assert "made with cudnn 9.19.0, here is 9.28.0.42" in problems(path, cudnn="9.28.0.42")


def test_only_what_changed_is_stale(locked: tuple[Path, Lock]) -> None:
    path, lock = locked
    changed = NET.spec.model_copy(
        update={
            "weights": "net.safetensors",
            "layers": tuple(
                layer.model_copy(update={"activation": None}) if layer.name == "b" else layer
                for layer in NET.spec.layers
            ),
        }
    )
    path.write_text(dump_spec(changed))
    text = problems(path)
    assert "batch1: b is not what it was made for" in text
    assert "fc" not in text
    # The others are built as they were tuned.
    network_text = generate(path, lock=lock).files["src/network.cu"]
    assert generate(path).files["src/network.cu"] != network_text


def test_a_tile_that_is_no_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a kernel that is known by its form, and of one that a lock puts in a library's place."""
    FakeMachine(
        monkeypatch, lambda _node, engine: 1.0 if engine.startswith(("implicit_gemm", "tile")) else 9.0
    )
    path = written(NET, tmp_path)
    steps = tuned(path).lock.plans["batch1"].steps
    of_own = {name: step.engine for name, step in steps.items() if "=" in step.engine}
    assert {engine.split()[0] for engine in of_own.values()} == {"implicit_gemm", "tile"}
    file = path.with_name("net.fake-gpu.lock.yaml")
    file.write_text(re.sub(r"(engine: (?:implicit_gemm|tile)) \w+=[^,}\n]*", r"\1 v=7", file.read_text()))
    text = problems(path)
    assert "batch1: " in text
    assert "that cnngen does not have any more" in text
    assert all(name in text for name in of_own)


def test_without_a_gpu_the_only_lock_is_taken_with_one_only_its_own(
    locked: tuple[Path, Lock],
) -> None:
    path, _ = locked
    assert choose_lock(path, None, []) is not None
    assert choose_lock(path, None, ["Fake GPU"]) is not None
    assert choose_lock(path, None, ["Other GPU"]) is None
    assert choose_lock(path, "none", ["Fake GPU"]) is None


def test_a_lock_cannot_inject_text(locked: tuple[Path, Lock]) -> None:
    path, _ = locked
    file = path.with_name("net.fake-gpu.lock.yaml")
    text = file.read_text()
    file.write_text(text.replace("gpu: Fake GPU", 'gpu: "x\\n#include <evil>"'))
    with pytest.raises(LockError, match=r"machine\.gpu"):
        load_lock(file)
    first = re.search(r"engine: [^,}]+", text)
    assert first is not None
    file.write_text(text.replace(first[0], "engine: 'cudnn 1\"; evil()'", 1))
    with pytest.raises(LockError, match="names no engine"):
        load_lock(file)
    file.write_text("[1, 2")
    with pytest.raises(LockError, match="not a lock"):
        load_lock(file)
