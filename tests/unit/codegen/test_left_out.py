"""Engines that `cnngen tune` is told to leave out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnngen.codegen.cli import app
from cnngen.codegen.engines import KINDS, OF_OURS
from cnngen.codegen.lock import Lock, LockError

from .fake_machine import LIBRARY, NET, FakeMachine, FakeTuner, tuned, written


def test_what_is_to_be_left_out_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whole words: 7 is not 71. A lock of before does not bring it back."""
    FakeMachine(monkeypatch, lambda _node, engine: 0.1 if engine in LIBRARY[1:] else 2.0)
    path = written(NET, tmp_path)
    before = tuned(path)
    assert {*LIBRARY[1:]} & engines(before.lock)
    found = tuned(path, without=("cublaslt", "cudnn 7"))
    assert engines(found.lock).isdisjoint(LIBRARY[1:])
    monkeypatch.setattr(FakeTuner, "engines", lambda *_: ["cudnn 71", "cudnn 7"])
    monkeypatch.setattr(FakeTuner, "time", lambda *given: 0.1 if given[-1] == "cudnn 71" else 2.0)
    found = tuned(path, without=("cudnn 7",), fresh=True)
    assert "cudnn 71" in engines(found.lock)


def test_what_is_to_be_left_out_runs_what_nothing_else_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeMachine(monkeypatch)
    every = tuned(written(NET, tmp_path), without=KINDS)
    assert every.lock.plans.keys() == {"batch1", "batch4"}
    assert all(plan.steps for plan in every.lock.plans.values())


def test_what_fails_is_told_once_though_what_was_left_out_is_tried_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeMachine(monkeypatch, wrong="cudnn 7")
    found = tuned(written(NET, tmp_path), without=("cudnn 0", "cudnn 1", "cublaslt", *OF_OURS))
    assert [text for text in found.rejected if text.startswith("cudnn 7 for fc")]
    assert max(Counter(found.rejected).values()) == len(NET.spec.batch_sizes)


def test_what_was_measured_without_something_is_no_other_run_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> float:
        raise RuntimeError("CUDA: an illegal memory access was encountered")

    FakeMachine(monkeypatch, lambda _node, engine: 0.1 if engine == "cublaslt 3 tile=2" else 2.0)
    path = written(NET, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(FakeTuner, "measure_pass", fails)
        with pytest.raises(LockError):
            tuned(path, without=("cublaslt",))
    assert "cublaslt 3 tile=2" in engines(tuned(path).lock)


def test_what_no_engine_begins_with_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    wrong = ("cublas", "cudnn seven", "cudnn 7 2", "")
    options = [word for words in (*wrong, "tile", "cudnn 7 2=0") for word in ("--without", words)]
    found = CliRunner().invoke(app, ["tune", str(path), *options])
    assert isinstance(found.exception, LockError)
    told = " or ".join(map(repr, wrong))
    assert str(found.exception).startswith(f"no engine's name begins with {told}: expected cudnn, ")


def engines(lock: Lock) -> set[str]:
    """All that a lock names."""
    return {entry.engine for plan in lock.plans.values() for entry in plan.steps.values()}
