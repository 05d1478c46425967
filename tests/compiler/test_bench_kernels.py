"""What bench/kernels.py times, each kernel with every tile: in the emulation against the interpreter, and compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .emulated_networks import check_steps, compiled, job, split, write_sources
from .test_kernels import ROOT, cuda_root, run

sys.path.insert(0, str(ROOT / "bench"))  # whose files import each other by name

from kernel_cases import CASES
from kernel_plan import inputs_of, make_kernel_bench


def test_every_tile_computes_what_the_interpreter_does(tmp_path: Path) -> None:
    bench = make_kernel_bench(CASES, small=True)
    inputs = inputs_of(bench.batch.graph)
    binary = compiled(write_sources([bench.plan], tmp_path))
    (tmp_path / "jobs").write_bytes(job(bench.plan, bench.batch, inputs))
    run(binary, tmp_path / "jobs", tmp_path / "results")
    parts = list(split((tmp_path / "results").read_bytes()))
    results = dict(zip((node.name for node in bench.batch.steps), parts[1::2], strict=True))
    check_steps(bench.batch, inputs, results)
    timed = {candidate.node.name for step in bench.steps for candidate in step.candidates}
    assert timed <= results.keys()
    assert len(timed) > 5 * len(CASES)


def test_nothing_spills() -> None:
    """Of the kernels that take the most registers; and the report has a line for each tile."""
    cuda_root()  # skips where there is none
    command = [sys.executable, str(ROOT / "bench" / "kernels.py"), "--compile", "--only", "7x7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.splitlines()
    assert last.endswith("kernels, 0 of which spill")
    bench = make_kernel_bench([case for case in CASES if "7x7" in case.name])
    for step in bench.steps:
        for candidate in step.candidates:
            assert f"| {step.case.name}, {step.title} | {candidate.tile} |" in done.stdout
