"""What the tuner makes of measured times: a machine that is made up says them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from cnngen.codegen.choices import Choices
from cnngen.codegen.cli import app
from cnngen.codegen.engines import IMPLICIT_GEMM, is_engine
from cnngen.codegen.generate import generate, plan_spec
from cnngen.codegen.graph import Node, is_view
from cnngen.codegen.graph_text import step_text
from cnngen.codegen.lock import Lock, LockError, load_lock
from cnngen.codegen.locking import ChosenLock, lock_problems
from cnngen.codegen.node_ops import Pointwise
from cnngen.codegen.tuning import search
from cnngen.codegen.tuning import tune as tuning
from cnngen.codegen.tuning.bench import make_bench
from cnngen.codegen.tuning.journal import Journal, Timing
from cnngen.codegen.tuning.measure import relative
from cnngen.codegen.tuning.module import PassStep
from cnngen.codegen.tuning.search import _comparable, alternatives, improved, pieces
from cnngen.codegen.verify import verify

from .fake_machine import FALLBACK, LIBRARY, MACHINE, NET, FakeMachine, FakeTuner, by_digest, tuned, written
from .networks import Network, network


def test_the_fastest_engine_of_each_step_is_locked_and_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock(node: Node, engine: str) -> float:
        return by_digest(node, engine) / (4 if engine == LIBRARY[0] and "fc" in node.layers else 1)

    machine = FakeMachine(monkeypatch, clock)
    path = written(NET, tmp_path)
    found = tuned(path)
    assert found.path == tmp_path / "net.fake-gpu.lock.yaml"
    lock = load_lock(found.path)
    assert lock.plans.keys() == {"batch1", "batch4"}
    for plan in lock.plans.values():
        assert plan.us <= plan.first_us
        for step in plan.steps.values():
            assert is_engine(step.engine)
            assert all(step.us <= us + 0.2 for us in step.others.values())
    assert not list(tmp_path.glob("*.jsonl"))
    text = generate(path, lock=lock).files["src/network.cu"]
    engines = {step.engine for plan in lock.plans.values() for step in plan.steps.values()}
    libraries = {engine for engine in engines if engine.startswith(("cudnn", "cublaslt"))}
    assert libraries
    assert all(engine in text for engine in libraries)
    assert "tuned for Fake GPU" in text
    # What is written as plans is what the network will ask for.
    assert all(set(engines) - {""} <= libraries for engines in machine.tuners[-1].saved)


def test_the_lock_is_sorted_text_that_says_what_it_was_made_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeMachine(monkeypatch)
    text = tuned(written(NET, tmp_path)).path.read_text()
    data = yaml.safe_load(text)
    assert data["machine"] == MACHINE
    for plan in data["plans"].values():
        assert list(plan["steps"]) == sorted(plan["steps"])
    assert max(map(len, text.splitlines())) < 250
    assert str(tmp_path) not in text


def chosen(lock: Lock) -> dict[str, dict[str, str]]:
    """By plan and step: the engine."""
    return {
        name: {title: entry.engine for title, entry in plan.steps.items()}
        for name, plan in lock.plans.items()
    }


def test_a_lock_makes_what_was_tuned_where_many_forms_are_chosen_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dense block's concatenations turn in one piece, of which only some are timed each alone."""
    monkeypatch.setattr(search, "MOST_SINGLE", 2)
    names = ["a", "b", "c", "d"]
    layers: list[dict[str, object]] = [
        {"name": "begin", "op": "conv2d", "out_channels": 32, "kernel": 3, "padding": 1}
    ]
    for name in names:
        last = layers[-1]["name"]
        layers.append({"name": name, "op": "conv2d", "out_channels": 32, "kernel": 3, "padding": 1})
        layers.append({"name": f"{name}.all", "op": "concat", "inputs": [last, name]})
    layers.append({"name": "end", "op": "global_avg_pool"})
    FakeMachine(monkeypatch, lambda node, _: 5.0 if isinstance(node.op, Pointwise) else 1.0)
    drawn = network(*layers, shape=(1, 32, 4, 4), precision="float16")
    path = written(drawn, tmp_path)
    found = tuned(path, drawn)
    lock = load_lock(found.path)
    forms = lock.plans["batch1"].forms
    assert {forms[f"place_concats {name}.all"].chosen for name in names} == {"in_place"}
    assert not lock_problems(ChosenLock(lock, found.path), plan_spec(path, lock=lock), [], {})


def test_what_options_take_is_told_of_the_same_steps() -> None:
    assert _comparable("apart", {"fused": (5.0, 3.0), "more": (7.0, 6.0)}) == {
        "apart": 7.0,
        "fused": 5.0,
        "more": 6.0,
    }
    assert _comparable("a", {"b": (math.inf, 3.0), "c": (2.0, 1.0)}) == {
        "a": math.inf,
        "b": 3.0,
        "c": math.inf,
    }


def test_a_second_run_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that differ by less than can be told apart leave the lock's choices as they are."""
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    first = tuned(path).lock
    FakeMachine(monkeypatch, lambda node, engine: by_digest(node, engine) * (1 + len(engine) % 3 / 200))
    assert chosen(tuned(path).lock) == chosen(first)


@pytest.mark.parametrize(("gain", "stays"), [(0.005, True), (0.02, False)])
def test_a_lock_changes_where_a_pass_gains_a_hundredth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: float, stays: bool
) -> None:
    """Though each of its steps, timed by itself, takes a tenth longer than by another engine."""
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    first = chosen(tuned(path).lock)
    taken = {engine for engines in first.values() for engine in engines.values()}
    FakeMachine(monkeypatch, lambda _node, engine: 2.2 if engine in taken else 2.0)

    def measure_pass(
        self: FakeTuner, _plan: int, steps: Sequence[PassStep], _replays: int
    ) -> tuple[float, float]:
        times = [self.time(other, step, engine) for step, (other, engine, *_) in enumerate(steps)]
        return 30.0 * (1 if max(times, default=2.2) > 2.0 else 1 - gain), 0.0

    monkeypatch.setattr(FakeTuner, "measure_pass", measure_pass)
    second = chosen(tuned(path).lock)
    same = [
        second[name].get(step, engine) == engine
        for name, few in first.items()
        for step, engine in few.items()
    ]
    assert all(same) == stays


@pytest.mark.parametrize("locked", ["32", "8", "4"])
def test_a_form_of_an_earlier_lock_stays_where_none_is_clearly_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str
) -> None:
    """Whichever of those that cannot be told apart a first run has taken."""
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    lock = tuned(path).path
    lock.write_text(re.sub(r"(pad_channels a.conv: {chosen:) '\d+'", rf"\1 '{locked}'", lock.read_text()))
    FakeMachine(monkeypatch, lambda _node, _engine: 2.0)
    for plan in tuned(path).lock.plans.values():
        assert plan.forms["pad_channels a.conv"].chosen == locked


def test_an_engine_of_an_earlier_lock_is_timed_though_it_is_not_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, offered, other = written(NET, tmp_path), "cudnn 7", "cudnn 77 5=1"

    def clock(node: Node, engine: str) -> float:
        return {offered: 0.5, other: 0.4}.get(engine) or by_digest(node, engine)

    FakeMachine(monkeypatch, clock)
    first = tuned(path).path
    assert f"engine: {offered}," in first.read_text()
    first.write_text(first.read_text().replace(f"engine: {offered},", f"engine: {other},"))
    FakeMachine(monkeypatch, clock)
    assert f"engine: {other}," in tuned(path).path.read_text()


def test_a_wrong_engine_is_rejected_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "cudnn 7"
    FakeMachine(monkeypatch, lambda node, engine: 0.1 if engine == wrong else by_digest(node, engine), wrong)
    found = tuned(written(NET, tmp_path))
    assert any(
        text.startswith(f"{wrong} for a") and "its error is 5.0e-01" in text for text in found.rejected
    )
    assert wrong not in found.path.read_text()


def test_an_engine_that_does_not_run_is_rejected_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at all, or not as often as it is timed."""
    broken = {"glance": "cublaslt 3 tile=2", "measure": "cudnn 7"}
    FakeMachine(monkeypatch, lambda _node, engine: 0.5 if engine in broken.values() else 2.0)
    monkeypatch.setattr(FakeTuner, "broken", broken)
    found = tuned(written(NET, tmp_path))
    for engine in broken.values():
        assert f"{engine} for a: cuDNN: running a plan: no texture" in found.rejected
    locked = {engine for engines in chosen(found.lock).values() for engine in engines.values()}
    assert not locked & {*broken.values()}


def test_a_gpu_that_fails_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> float:
        raise RuntimeError("CUDA: an illegal memory access was encountered")

    FakeMachine(monkeypatch)
    monkeypatch.setattr(FakeTuner, "measure_pass", fails)
    found = CliRunner().invoke(app, ["tune", str(written(NET, tmp_path))])
    assert isinstance(found.exception, LockError)
    assert "illegal memory access" in str(found.exception)


def test_where_all_that_is_offered_is_wrong_the_library_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeMachine(monkeypatch, lambda _node, engine: 0.1 if engine.startswith(("cud", "cub")) else 9.0)
    monkeypatch.setattr(FakeTuner, "error", lambda *given: 0.5 if given[-1] in LIBRARY else 1e-4)
    found = tuned(written(NET, tmp_path))
    engines = {entry.engine for plan in found.lock.plans.values() for entry in plan.steps.values()}
    assert FALLBACK in engines
    assert engines.isdisjoint(LIBRARY)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    want = tuned(path).path.read_text()
    for file in tmp_path.glob("*.lock.yaml"):
        file.unlink()

    class Stopped(BaseException):
        pass

    calls = 0

    def clock(node: Node, engine: str) -> float:
        nonlocal calls
        calls += 1
        if calls == whole.measured // 2:
            raise Stopped
        return by_digest(node, engine)

    FakeMachine(monkeypatch, clock)
    with pytest.raises(Stopped):
        tuned(path)
    assert not list(tmp_path.glob("*.lock.yaml"))
    (journal,) = tmp_path.glob("*.tuning.jsonl")
    journal.write_text(journal.read_text()[:-20])  # cut off in the middle of a line
    again = FakeMachine(monkeypatch)
    assert tuned(path).path.read_text() == want
    assert 0 < again.measured < whole.measured


def test_a_journal_of_another_machine_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, {"gpu": "A"}).add("step", [Timing("tile", 1.0, 0.0, 0)], [])
    assert Journal(path, {"gpu": "A"}).steps
    assert not Journal(path, {"gpu": "B"}).steps
    assert json.loads(path.read_text()) == {"machine": {"gpu": "B"}}


def test_a_budget_ends_the_search_and_leaves_a_whole_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    tuned(path)
    short = FakeMachine(monkeypatch)
    lock = tuned(path, budget=0, fresh=True).lock
    assert short.measured < whole.measured / 2
    assert generate(path, lock=lock).files


def test_what_came_out_slower_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps may mislead: alone each is faster, together they are not."""
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    for us, is_told in ((9.0, False), (12.0, True)):
        monkeypatch.setattr(
            FakeTuner,
            "measure_pass",
            lambda _self, _plan, steps, _replays, us=us: (us if steps else 10.0, 0.0),
        )
        found = CliRunner().invoke(app, ["tune", str(path), "--fresh"])
        assert found.exit_code == 0
        assert f"batch1: {us:.1f} us a pass, 10.0 by every first choice" in found.stderr
        assert ("batch1 is slower than by every first choice" in found.stderr) == is_told


@pytest.mark.parametrize(("longer", "needs_libraries"), [(1.005, False), (1.05, True)])
def test_a_pass_that_is_as_fast_without_libraries_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longer: float, needs_libraries: bool
) -> None:
    """A library is opened at start: that is worth a hundredth of a pass, and no more."""

    def clock(node: Node, engine: str) -> float:
        if engine not in LIBRARY:
            return 20.0 * longer
        return 20.0 if engine == "cudnn 7" and "a" not in node.layers else 60.0

    FakeMachine(monkeypatch, clock)
    lock = tuned(written(NET, tmp_path)).lock
    engines = [entry.engine for plan in lock.plans.values() for entry in plan.steps.values()]
    assert any(engine.startswith("cudnn") for engine in engines) == needs_libraries


def test_all_plans_do_without_libraries_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of them opens a library, the others gain nothing by avoiding it."""

    def clock(node: Node, engine: str) -> float:
        if engine not in LIBRARY:
            return 20.0
        fast = 19.5 if node.value.shape[0] == 1 else 10.0
        return fast if engine == "cudnn 7" and "a" not in node.layers else 60.0

    FakeMachine(monkeypatch, clock)
    for name, engines in chosen(tuned(written(NET, tmp_path)).lock).items():
        assert any(engine == "cudnn 7" for engine in engines.values()), name


def test_passes_that_compute_something_else_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a step does not wait for what it reads."""
    FakeMachine(monkeypatch)
    path = written(NET, tmp_path)
    for off, is_told in ((0.0, False), (1.0, True)):
        monkeypatch.setattr(FakeTuner, "off", off)
        found = CliRunner().invoke(app, ["tune", str(path), "--fresh"])
        assert found.exit_code == 0
        assert ("The steps of batch1 give something else together" in found.stderr) == is_told


def test_tuning_needs_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "gpus", list)
    with pytest.raises(LockError, match="none was found here"):
        tuned(written(NET, tmp_path))


# --- forms --------------------------------------------------------------------------------------------------


def rewriter(drawn: Network, batch: int = 1) -> Callable[[Choices], object]:
    begun = tuning.passes.run(tuning.lower(drawn.spec, drawn.weights, batch), end=tuning.passes.FIRST_CHOICE)
    return tuning._rewriter(begun)


def test_the_form_whose_steps_take_least_is_chosen() -> None:
    rewrite = rewriter(NET)
    base = rewrite(Choices())
    (site,) = [site for site in base.sites if site.layer == "a.conv"]
    assert (site.rewrite, site.chosen) == ("pad_channels", "4")
    others = alternatives(base, Choices(), rewrite)
    assert {name for name, _ in others} == {"pad_channels"}

    def timings(wanted: str) -> dict[str, list[Timing]]:
        found = {}
        for graph in (base, *(graph for _, graph in others)):
            for node in graph.nodes:
                channels = re.search(r"\[1, (\d+), 16, 16\]", step_text(node, graph))
                fast = node.layers[-1] == "a" and channels is not None and channels[1] == wanted
                found[step_text(node, graph)] = [Timing("tile", 1.0 if fast else 5.0, 0.0, 0)]
        return found

    for wanted in ("3", "8", "32"):
        choices, compared = improved(base, Choices(), others, timings(wanted))
        assert choices.forms["pad_channels", "a.conv"] == wanted
        assert set(compared["pad_channels", "a.conv"]) == {"3", "4", "8", "32"}
        assert (
            rewrite(choices)
            .producers["a"]
            .inputs[1]
            .endswith(f"padded{wanted}" if wanted != "3" else "weight")
        )


def test_a_gain_that_cannot_be_told_from_noise_changes_nothing() -> None:
    rewrite = rewriter(NET)
    base = rewrite(Choices())
    others = alternatives(base, Choices(), rewrite)
    timings = {
        step_text(node, graph): [Timing("tile", 5.0 if graph is base else 4.96, 0.0, 0)]
        for graph in (*(graph for _, graph in others), base)
        for node in graph.nodes
    }
    choices, _ = improved(base, Choices(), others, timings)
    assert choices.forms["pad_channels", "a.conv"] == "4"


def test_graphs_differ_in_pieces() -> None:
    rewrite = rewriter(NET)
    base = rewrite(Choices())
    other = rewrite(Choices(forms={("pad_channels", "a.conv"): "8"}))
    (piece,) = pieces(base, other)
    assert {node.layers for node in piece.before} == {node.layers for node in piece.after} == {("x",), ("a",)}
    assert not pieces(base, rewrite(Choices()))


def test_a_bench_holds_each_step_once_and_each_tile() -> None:
    rewrite = rewriter(NET)
    base = rewrite(Choices())
    others = [graph for _, graph in alternatives(base, Choices(), rewrite)]
    bench = make_bench(base, others)
    verify(bench.graph)
    texts = {step_text(node, graph) for graph in (base, *others) for node in graph.nodes if not is_view(node)}
    assert {case.step for case in bench.cases} == texts
    assert len(set(bench.cases)) == len(bench.cases)
    gemms = [case for case in bench.cases if case.engine.startswith(IMPLICIT_GEMM)]
    assert len(gemms) > 10
    for case in bench.cases:
        node = bench.graph.producers[case.name]
        assert (node.engine in case.engine) or case.engine == ""
    assert not make_bench(base, others, texts).cases


def test_relative_is_infinite_for_numbers_that_are_none() -> None:
    a, b = np.array([1.0, np.nan]), np.array([1.0, 2.0])
    assert relative(a, b) == math.inf
    assert relative(b, b) == 0.0
