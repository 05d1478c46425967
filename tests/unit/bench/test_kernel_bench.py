"""bench/kernels.py without a GPU: what is planned, what compilers and sanitizers say, and what becomes of times."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import kernels
import numpy as np
import pytest
from kernel_cases import BATCH, CASES, SMALL_BATCH, spec_of
from kernel_plan import KernelBench, Step, inputs_of, make_kernel_bench
from kernel_report import Resources, first_error, name_of, resource_table, resources, table

from cnngen.codegen.engines import ON_TENSOR_CORES
from cnngen.codegen.graph import is_view
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.plan import Plan
from cnngen.codegen.storage import to_memory

PTXAS = """
ptxas info    : Compiling entry function '_ZN12kernel_bench7kernels3oneEiPK6__halfPS1_' for 'sm_80'
ptxas info    : Function properties for _ZN12kernel_bench7kernels3oneEiPK6__halfPS1_
    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 376 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN12kernel_bench7kernels3oneEiPK6__halfPS1_' for 'sm_90'
ptxas info    : Function properties for _ZN12kernel_bench7kernels3oneEiPK6__halfPS1_
    16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 16 bytes cumulative stack size, 1024 bytes smem
ptxas info    : Compiling entry function '_ZN12kernel_bench7kernels5two_2EiPK6__halfPS1_' for 'sm_90'
ptxas info    : Function properties for _ZN12kernel_bench7kernels5two_2EiPK6__halfPS1_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
"""

COMPILED = """Compiling entry function 'SYMBOL' for
0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
Used 9 registers
"""

FOUND = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 16 bytes
=========     at void net::kernels::y(int)+0x120
=========     by thread (0,0,0) in block (0,0,0)
========= ERROR SUMMARY: 1 error
"""


@pytest.fixture(scope="module")
def bench() -> KernelBench:
    return make_kernel_bench(CASES)


@pytest.fixture(scope="module")
def small() -> KernelBench:
    return make_kernel_bench(CASES, small=True)


def chosen(*names: str) -> list[Step]:
    return list(make_kernel_bench([case for case in CASES if case.name in names]).steps)


# --- the plan --------------------------------------------------------------------------------------------------------


def test_every_case_has_a_step_that_is_timed(bench: KernelBench) -> None:
    assert {step.case.name for step in bench.steps} == {case.name for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES)


def test_candidates_are_what_a_step_may_be_run_by_first_its_default(bench: KernelBench) -> None:
    kernels_used = []
    for step in bench.steps:
        first, *others = step.candidates
        assert first.node.name == step.node.name
        assert not first.node.engine
        assert [other.tile for other in others] == [other.node.engine for other in others]
        assert len({candidate.tile for candidate in step.candidates}) == len(step.candidates)
        for candidate in step.candidates:
            assert bench.batch.steps[candidate.number] is candidate.node
            if candidate.node.form not in ON_TENSOR_CORES:  # of those, cases of other shapes share one
                kernels_used.append(candidate.kernel)
    # Equal steps of two cases would have one kernel; here every tile has its own.
    assert len(set(kernels_used)) == len(kernels_used)


def test_copies_of_inputs_and_outputs_are_not_timed() -> None:
    (step,) = chosen("max pool 2x2")
    assert step.title == "pool max"
    assert [step.title for step in chosen("instance norm")] == ["reduce mean", "reduce variance", "pointwise"]


def test_a_case_does_not_write_over_itself(bench: KernelBench) -> None:
    """Candidates of a step write to one place, and cases lie over each other; all else of a case lies apart."""
    graph, offsets = bench.batch.graph, bench.batch.arena.offsets
    lying: dict[str, dict[str, tuple[int, int]]] = {}
    inputs = {value.name: value.name for value in graph.inputs}
    for name, layer in {**inputs, **{node.name: node.layers[0] for node in graph.nodes}}.items():
        node = graph.producers.get(name)
        if node is not None and is_view(node):
            assert offsets[name] == offsets[node.inputs[0]]
            continue
        first = offsets[name]
        place = (first, first + graph.values[name].bytes)
        assert place[1] <= bench.batch.arena.bytes
        kept = lying.setdefault(layer.partition("/")[0], {}).setdefault(name.partition("~")[0], place)
        assert kept == place
    for values in lying.values():
        for (_, end), (start, _) in itertools.pairwise(sorted(values.values())):
            assert end <= start
    assert bench.batch.arena.bytes < sum(value.bytes for value in graph.values.values()) / 10


def test_small_cases_run_as_one_network(small: KernelBench) -> None:
    """All values apart, so that no candidate reads what another one wrote."""
    graph, offsets = small.batch.graph, small.batch.arena.offsets
    names = [value.name for value in graph.inputs] + [node.name for node in graph.nodes if not is_view(node)]
    places = sorted((offsets[name], offsets[name] + graph.values[name].bytes) for name in names)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
    assert small.batch.arena.bytes < 96 << 20
    assert len(small.steps) == len({(step.case.name, step.node.name) for step in small.steps})


def test_sizes() -> None:
    large, cut = spec_of(CASES), spec_of(CASES, small=True)
    assert large.batch_sizes == (BATCH,)
    assert cut.batch_sizes == (SMALL_BATCH,)
    for name, port in cut.inputs.items():
        assert len(port.shape) == len(large.inputs[name].shape)
        assert all(few <= many for few, many in zip(port.shape, large.inputs[name].shape, strict=True))


def test_inputs_are_what_their_types_hold(small: KernelBench) -> None:
    inputs = inputs_of(small.batch.graph)
    for value in small.batch.graph.inputs:
        array = inputs[value.name]
        assert array.shape == value.shape
        assert array.dtype == np.float64
        stored = {"float16": np.float16, "float32": np.float32, "uint8": np.uint8}[value.dtype]
        np.testing.assert_array_equal(array, array.astype(stored))
        assert array.std() > 0


# --- what is said ----------------------------------------------------------------------------------------------------


def test_resources_are_those_of_the_last_architecture() -> None:
    assert resources(PTXAS) == {"one": Resources(64, 48, 1024), "two_2": Resources(32, 0, 0)}
    assert str(Resources(64, 32, 1024)) == "64 / 32 / 1024"


def test_a_symbol_that_is_not_mangled_is_its_own_name() -> None:
    assert name_of("plain") == "plain"
    assert name_of("_ZN3net7kernels12a_longer_oneEiPfS0_") == "a_longer_one"


def test_a_table_marks_what_is_slow_and_what_is_wrong() -> None:
    row = {
        "case": "fast",
        "step": "conv",
        "bytes": 4_000_000,
        "default_us": 5.0,
        "best_us": 4.0,
        "tile": "v=8",
        "resources": "64 / 0 / 0",
        "wrong": [],
    }
    slow = {**row, "case": "slow", "best_us": 5.5, "tile": "", "wrong": ["y, v=4: off by 1.0e+00"]}
    text = table([row, slow], copy=1e12)
    assert "| fast | conv | 4 | 5.0 | 4.0 | v=8 | 1000 | 100% | 64 / 0 / 0 |" in text
    assert "| slow | conv | 4 | 5.0 | 5.5 | - | 727 | 73% ! | 64 / 0 / 0 |" in text
    assert text.endswith("Tiles whose results differ:\n- y, v=4: off by 1.0e+00\n")
    assert "differ" not in table([row], copy=1e12)


def test_a_line_for_every_tile() -> None:
    steps = chosen("softmax over rows")
    known = {candidate.kernel: Resources(40, 0, 16) for candidate in steps[0].candidates}
    lines = resource_table(steps, known).splitlines()[2:]
    assert len(lines) == len(steps[0].candidates) > 1
    assert re.fullmatch(r"\| softmax over rows, softmax \| v=8 .* \| 40 / 0 / 16 \|", lines[0])


def test_what_a_sanitizer_complains_of_first() -> None:
    assert first_error(FOUND) == "Invalid __global__ read of size 16 bytes at void net::kernels::y(int)+0x120"
    assert not first_error("========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors\n")
    assert not first_error("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n")
    assert first_error("========= RACECHECK SUMMARY: 1 hazard displayed\n") != ""


def test_a_program_that_ends_badly_or_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(code: str) -> str:
        return kernels.complaint_of([sys.executable, "-c", code], tmp_path)

    assert not said("print('all is well')")
    assert said("raise SystemExit('no device')") == "no device"
    assert said("raise SystemExit(3)") == "ended with 3"
    assert said(f"print({FOUND!r})").startswith("Invalid __global__ read")
    monkeypatch.setattr(kernels, "SANITIZE_S", 0.2)
    assert said("import time; time.sleep(60)") == "not waited for: over 0 s"


# --- the program -----------------------------------------------------------------------------------------------------


class FakeTuner:
    """Every step gives the same, but for one."""

    measure: Callable[..., tuple[float, float]]

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def keep(self, _plan: int, step: int, _engine: str) -> None:
        assert step != self.wrong

    def difference(self, _plan: int, step: int) -> float:
        return 1.0 if step == self.wrong else 0.0


def test_a_tile_with_other_results_is_named() -> None:
    (step,) = chosen("softmax over rows")
    wrong = step.candidates[2]
    (line,) = kernels.differing(FakeTuner(wrong.number), step.candidates)
    assert line == f"{wrong.node.name}, {wrong.tile}: off by 1.0e+00"
    assert kernels.differing(FakeTuner(-1), step.candidates) == []


def test_an_output_is_held_against_the_interpreter(tmp_path: Path) -> None:
    bench = make_kernel_bench([case for case in CASES if case.name == "add relu"], small=True)
    graph = bench.batch.graph
    (name,) = graph.outputs
    value = graph.values[name]
    want = np.ones(value.shape)
    stored = np.ones([value.shape[axis] for axis in value.axes], np.float16)
    np.savez(tmp_path / "outputs.npz", stored)
    assert not kernels.difference(graph, {name: want}, tmp_path / "outputs.npz")
    np.savez(tmp_path / "outputs.npz", 2 * stored)
    assert kernels.difference(graph, {name: want}, tmp_path / "outputs.npz") == f"{name} is off by 1.0e+00"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x"], "there is no GPU here; --compile needs none"),
        (["--sanitize", "memcheck"], "there is no GPU here; --compile needs none"),
        (["--compile", "--only", "nosuch"], "no case is called nosuch: there are depthwise 3x3, "),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "gpus", tuple)
    monkeypatch.setattr(sys, "argv", ["kernels.py", *words])
    with pytest.raises(SystemExit) as ended:
        kernels.main()
    assert str(ended.value.code).startswith(said)  # which ends with 1, and is printed


def test_something_has_to_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        kernels.parse_arguments([])
    assert ended.value.code == 2
    assert "--out DIR" in capsys.readouterr().err


def build_log(folder: Path, plan: Plan, kernels_there: Iterable[str], text: str) -> None:
    """What a build leaves: so much of each kernel by ptxas."""
    symbols = [f"_ZN12kernel_bench7kernels{len(name)}{name}Ei" for name in kernels_there]
    build = folder / plan.spec.name / "build"
    build.mkdir(parents=True, exist_ok=True)
    (build / "build.log").write_text("".join(text.replace("SYMBOL", symbol) for symbol in symbols))


def test_spills_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [case for case in CASES if case.name == "spade"]
    (step,) = chosen("spade")
    text = COMPILED.replace("0 bytes spill stores", "{} bytes spill stores")

    def compile_it(plan: Plan, folder: Path, _tell: object, archs: list[str]) -> None:
        assert archs == ["90"]
        assert os.environ["NVCC_APPEND_FLAGS"].endswith("-Xptxas -v")
        build_log(folder, plan, [step.candidates[0].kernel], text.format(spilled))

    monkeypatch.setattr(kernels, "compile_candidates", compile_it)
    for spilled, said in ((0, "1 kernels, 0 of which spill\n"), (4, "1 kernels, 1 of which spill: spade")):
        assert kernels.report_resources(cases, tmp_path) == (spilled == 0)
        assert said in capsys.readouterr().out
    assert "-Xptxas" not in os.environ["NVCC_APPEND_FLAGS"]


def test_times_become_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the GPU: a copy of 1 GB/s, and steps whose second candidate is twice as fast as all others."""
    cases = [case for case in CASES if case.name in ("softmax over rows", "spade")]
    bench = make_kernel_bench(cases)
    second = {step.candidates[1].number for step in bench.steps if len(step.candidates) > 1}
    rates = {"environment": {"gpu": "Some GPU", "cuda": "13"}, "bytes": 1e9, "flop": 1e9}
    tuner = FakeTuner(-1)
    tuner.measure = lambda _plan, number, _engine, _launches, _most: (1e6 if number in second else 2e6, 0.0)

    def build(plan: Plan, folder: Path, footprints: list[int], *_rest: object) -> SimpleNamespace:
        assert footprints == [plan.batches[0].arena.bytes]
        used = [candidate.kernel for step in bench.steps for candidate in step.candidates]
        build_log(folder, plan, used, COMPILED)
        return SimpleNamespace(tuner=tuner)

    monkeypatch.setattr(kernels, "build_candidates", build)
    worker = SimpleNamespace(answer=lambda _timeout: rates, close=lambda: None)
    monkeypatch.setattr(kernels, "Worker", SimpleNamespace(of=lambda *_arguments: worker))
    assert kernels.measure(cases, tmp_path, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "kernels.json").read_text())
    rows = {row["case"]: row for row in found["rows"]}
    assert rows["softmax over rows"]["best_us"] == 1e6
    (softmax,) = chosen("softmax over rows")
    assert rows["softmax over rows"]["tile"] == softmax.candidates[1].tile
    assert rows["spade"]["best_us"] == rows["spade"]["default_us"] == 2e6
    lines = (tmp_path / "out" / "kernels.md").read_text().splitlines()
    assert lines[0] == "gpu Some GPU, cuda 13"
    assert sum(line.startswith(("| softmax over rows |", "| spade |")) for line in lines) == 2


def test_every_tool_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a sanitizer that complains of races, and else brings the interpreter's outputs."""
    cases = [case for case in CASES if case.name == "add relu"]
    bench = make_kernel_bench(cases, small=True)
    graph = bench.batch.graph
    wanted = interpret_plan(bench.plan, 0, inputs_of(graph))
    np.savez(tmp_path / "good.npz", *(to_memory(wanted[name], graph.values[name]) for name in graph.outputs))
    program = tmp_path / "sanitizer"
    lines = [
        "#!/bin/sh",
        f"cp {tmp_path}/good.npz outputs.npz",
        '[ "$2" != racecheck ] || echo "========= a hazard"',
        "",
    ]
    program.write_text("\n".join(lines))
    program.chmod(0o755)
    monkeypatch.setattr(kernels, "sanitizer", lambda: str(program))
    monkeypatch.setattr(kernels, "build_network", lambda _bench, folder: folder)
    assert kernels.sanitize(cases, ["memcheck", "initcheck"], tmp_path)
    assert not kernels.sanitize(cases, ["racecheck"], tmp_path)
    said = [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["memcheck: clean", "initcheck: clean", "racecheck: a hazard"]
