"""The kernels that cnngen writes, as they are generated: how close each comes to the bandwidth of a copy.

    python bench/kernels.py --out DIR [--only SUBSTRING]
    python bench/kernels.py --sanitize memcheck racecheck initcheck synccheck [--only SUBSTRING]
    python bench/kernels.py --compile [--only SUBSTRING]

Cases (kernel_cases.py) are planned as any network; their kernels, each with every tile that `cnngen tune` would try,
are compiled into one module with its tuner, which times them one by one. DIR receives kernels.json and kernels.md.

--sanitize runs a small variant of all cases and tiles once, as a network, under compute-sanitizer's tools, and compares
its outputs with the interpreter's. --compile only tells registers, spills and shared memory, and needs no GPU.
Measuring needs torch, for the copy.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from floor import step_work
from kernel_cases import CASES, KernelCase
from kernel_plan import Candidate, KernelBench, inputs_of, make_kernel_bench
from kernel_report import first_error, resource_table, resources, table
from worker import Failure, Worker

from cnngen.codegen.architectures import gpus
from cnngen.codegen.build import build_project
from cnngen.codegen.emit.project import project_files
from cnngen.codegen.graph import Array, Graph
from cnngen.codegen.interpret_plan import interpret_plan
from cnngen.codegen.project import Content, runtime_files, write_project
from cnngen.codegen.storage import to_memory
from cnngen.codegen.targets import CUDA
from cnngen.codegen.tuning.measure import relative, tolerance
from cnngen.codegen.tuning.module import Tuner, build_candidates, compile_candidates
from cnngen.codegen.weight_file import write_weight_file
from cnngen.spec.errors import CnngenError

PACKAGES = ("cnngen", "torch")
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
FOUND = 9  # the sanitizer's exit code where it found something
LAUNCHES = 8  # that are timed together
RATES_S, SANITIZE_S = 120.0, 900.0
RUN = """
import sys, numpy, cnngen
module = cnngen.load(sys.argv[1])
given = numpy.load(sys.argv[2])
found = module.Network()(*(given[name] for name in given.files))
numpy.savez(sys.argv[3], *([found] if isinstance(found, numpy.ndarray) else found))
"""


def main() -> None:
    arguments = parse_arguments(sys.argv[1:])
    cases = [case for case in CASES if arguments.only in case.name]
    if not cases:
        sys.exit(f"no case is called {arguments.only}: there are {', '.join(case.name for case in CASES)}")
    if not arguments.compile and not gpus():
        sys.exit("there is no GPU here; --compile needs none")
    with tempfile.TemporaryDirectory(prefix="cnngen-kernels-") as folder:
        try:
            if arguments.compile:
                good = report_resources(cases, Path(folder))
            elif arguments.sanitize:
                good = sanitize(cases, arguments.sanitize, Path(folder))
            else:
                good = measure(cases, Path(folder), arguments.out)
        except (CnngenError, Failure) as failure:
            sys.exit(str(failure))
    sys.exit(0 if good else 1)


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for kernels.json and kernels.md")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="cases whose names have it")
    parser.add_argument("--sanitize", nargs="+", choices=TOOLS, metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--compile", action="store_true", help="report what the compiler says; needs no GPU")
    arguments = parser.parse_args(words)
    if not (arguments.out or arguments.sanitize or arguments.compile):
        parser.error("--out DIR, --sanitize TOOL ... or --compile")
    return arguments


# --- timing ----------------------------------------------------------------------------------------------------------


def measure(cases: Sequence[KernelCase], folder: Path, out: Path) -> bool:
    """Times all candidates, and writes what was found; whether all compute the same."""
    out.mkdir(parents=True, exist_ok=True)
    with closing(Worker.of("rates", PACKAGES, folder / "rates.log")) as worker:
        rates = worker.answer(RATES_S)
    bench = make_kernel_bench(cases)
    started = time.perf_counter()
    with verbose_ptxas():
        tuner = build_candidates(bench.plan, folder, [bench.batch.arena.bytes], 0, tell).tuner
    compile_s = time.perf_counter() - started
    known = resources(build_log(folder, bench))
    print(f"{len(known)} kernels compiled in {compile_s:.0f} s", flush=True)
    rows = []
    for step in bench.steps:
        times = [
            tuner.measure(0, candidate.number, "", LAUNCHES, math.inf)[0] for candidate in step.candidates
        ]
        best = times.index(min(times))
        row = {
            "case": step.case.name,
            "step": step.title,
            "bytes": step_work(bench.batch.graph, step.node).bytes,
            "default_us": times[0],
            "best_us": times[best],
            "tile": step.candidates[best].tile,
            "resources": str(known[step.candidates[best].kernel]),
            "tiles": {
                candidate.tile: {"us": us, "resources": str(known[candidate.kernel])}
                for candidate, us in zip(step.candidates, times, strict=True)
            },
            "wrong": differing(tuner, step.candidates),
        }
        rows.append(row)
        print(f"  {row['case']}, {row['step']}: {times[0]:.1f}, at best {times[best]:.1f} µs", flush=True)
    results = {**rates, "compile_s": compile_s, "rows": rows}
    (out / "kernels.json").write_text(json.dumps(results, indent=1))
    text = table(rows, rates["bytes"])
    environment = ", ".join(f"{name} {version}" for name, version in rates["environment"].items())
    (out / "kernels.md").write_text(f"{environment}\n\n{text}")
    print(f"\n{text}")
    return not any(row["wrong"] for row in rows)


def differing(tuner: Tuner, candidates: Sequence[Candidate]) -> list[str]:
    """The tiles that do not compute what the default one does, which the tests prove.

    Inputs are what memory holds.
    """
    tuner.keep(0, candidates[0].number, "")
    found = []
    for candidate in candidates[1:]:
        error = tuner.difference(0, candidate.number)
        if not error <= tolerance(candidate.node):
            found.append(f"{candidate.node.name}, {candidate.tile}: off by {error:.1e}")
    return found


# --- compiling -------------------------------------------------------------------------------------------------------


@contextmanager
def verbose_ptxas() -> Iterator[None]:
    """Each nvcc started inside tells the resources of its kernels."""
    before = os.environ.get("NVCC_APPEND_FLAGS", "")
    os.environ["NVCC_APPEND_FLAGS"] = f"{before} -Xptxas -v".strip()
    try:
        yield
    finally:
        os.environ["NVCC_APPEND_FLAGS"] = before


def build_log(folder: Path, bench: KernelBench) -> str:
    return (folder / bench.plan.spec.name / "build" / "build.log").read_text()


def report_resources(cases: Sequence[KernelCase], folder: Path) -> bool:
    """Whether nothing spills."""
    bench = make_kernel_bench(cases)
    started = time.perf_counter()
    with verbose_ptxas():
        compile_candidates(bench.plan, folder, tell, ["90"])
    known = resources(build_log(folder, bench))
    print(f"compiled in {time.perf_counter() - started:.0f} s\n\n{resource_table(bench.steps, known)}")
    # Those that check the others are not among them.
    kernels = [candidate.kernel for step in bench.steps for candidate in step.candidates]
    spilling = [name for name in kernels if known[name].spilled]
    print(
        f"{len(kernels)} kernels, {len(spilling)} of which spill{': ' if spilling else ''}{', '.join(spilling)}"
    )
    return not spilling


def tell(stage: str, done: int, total: int) -> None:
    if done == total:
        print(f"{stage}: {total} steps", flush=True)


# --- the sanitizer ---------------------------------------------------------------------------------------------------


def sanitize(cases: Sequence[KernelCase], tools: Sequence[str], folder: Path) -> bool:
    """Runs all cases under each tool, and prints a line each; whether all are clean."""
    program = sanitizer()  # first, since building takes minutes
    bench = make_kernel_bench(cases, small=True)
    project = build_network(bench, folder)
    graph = bench.batch.graph
    inputs = inputs_of(graph)
    wanted = interpret_plan(bench.plan, 0, inputs)
    given = [to_memory(inputs[value.name], value) for value in graph.inputs]
    np.savez(folder / "inputs.npz", *given)
    command = [sys.executable, "-c", RUN, *map(str, (project, folder / "inputs.npz", folder / "outputs.npz"))]
    clean = True
    for tool in tools:
        (folder / "outputs.npz").unlink(missing_ok=True)
        started = time.perf_counter()
        wrapped = [program, "--tool", tool, "--error-exitcode", str(FOUND), *command]
        complaint = complaint_of(wrapped, folder) or difference(graph, wanted, folder / "outputs.npz")
        clean &= not complaint
        took = f"{len(bench.batch.steps)} kernels, {time.perf_counter() - started:.0f} s"
        print(f"{tool}: {complaint or 'clean'} ({took})", flush=True)
    return clean


def complaint_of(command: Sequence[str], folder: Path) -> str:
    """What a program that runs under the sanitizer ends with; "" where all is well."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SANITIZE_S, cwd=folder
        )
    except subprocess.TimeoutExpired:
        return f"not waited for: over {SANITIZE_S:.0f} s"
    complaint = first_error(done.stdout + done.stderr)
    if done.returncode and not complaint:
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return complaint


def sanitizer() -> str:
    """compute-sanitizer: on the PATH, in the running Python's wheels, or in a toolkit."""
    wheels = [Path(path) / "nvidia" / "cu13" / "bin" for path in sys.path]
    toolkits = [
        Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / part for part in ("bin", "compute-sanitizer")
    ]
    found = shutil.which("compute-sanitizer") or next(
        (path for place in (*wheels, *toolkits) if (path := shutil.which("compute-sanitizer", path=place))),
        None,
    )
    if found is None:
        sys.exit(
            "compute-sanitizer is not installed: it comes with a CUDA toolkit, or pip install nvidia-cuda-sanitizer-api"
        )
    return found


def build_network(bench: KernelBench, folder: Path) -> Path:
    """All candidates as an ordinary network, whose memory nobody fills first: initcheck sees what is read unwritten."""
    plan = bench.plan
    project = folder / plan.spec.name
    files: dict[str, Content] = {**project_files(plan, "0" * 12, "0" * 12), **runtime_files(project, CUDA)}
    weights = f"{plan.spec.name}.weights.safetensors"
    write_project({**files, weights: lambda path: write_weight_file(plan.weights, path)}, project)
    return build_project(project, progress=tell).project


def difference(graph: Graph, wanted: Mapping[str, Array], path: Path) -> str:
    """The first output that is not the interpreter's; "" where all are."""
    with np.load(path) as found:
        for name, key in zip(graph.outputs, found.files, strict=True):
            value = graph.values[name]
            want = np.transpose(wanted[name], value.axes)
            error = relative(found[key].astype(np.float64), want)
            if not error <= tolerance(graph.producers[name]):
                return f"{name} is off by {error:.1e}"
    return ""


if __name__ == "__main__":
    main()
