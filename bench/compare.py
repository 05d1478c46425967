"""Networks on a GPU: cnngen against PyTorch, torch.compile, ONNX Runtime and TensorRT, and against what is possible.

    python bench/compare.py NETWORK[:BATCH] ... --out DIR

All are given float16 inputs on the GPU, channels-last; ONNX Runtime and TensorRT, whose files are channels-first, in
that order. A pass is one CUDA graph launch. Every peer has loaded the network into a process of its own; they run in
turn, some passes at a time. What is not installed, fails or is not waited for is said so. Outputs are compared with
PyTorch's in float32. The floor is the least time for the bytes and the arithmetic of each step of cnngen's plan, and of
the network as one, at the rates of a large copy and a large matrix product, which are measured first.

By default every peer runs but compile_cudnn: torch.compile that leaves convolutions to cuDNN, for networks with which
max-autotune is not ready in time.

DIR receives compare.json, compare.md and compare.png after every network; what was in it before stays, so that a table
may be made of several runs on one machine. Without a network they are made again from compare.json. Needs
`pip install 'cnngen[bench]'`; peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from typing import Any

from cases import Case, parse
from compare_report import chart, table
from machine import start_up
from peers import PEERS, USUAL
from worker import Failure, Worker

ANSWER_S = 600.0  # for anything but getting ready
PACKAGES = ("cnngen", "torch", "nvidia-cudnn-cu13", "onnxruntime-gpu", "tensorrt")
NEED_FLOAT16_FILE = {"ort", "trt"}


def main() -> None:
    arguments = parse_arguments(sys.argv[1:])
    if importlib.util.find_spec("matplotlib") is None:
        sys.exit("matplotlib is not installed: pip install 'cnngen[bench]'")
    arguments.out.mkdir(parents=True, exist_ok=True)
    stored = arguments.out / "compare.json"
    results = json.loads(stored.read_text()) if stored.exists() else {"environment": {}, "cases": {}}
    work = arguments.work or Path(tempfile.mkdtemp(prefix="cnngen-compare-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.networks:
            measure(arguments, work.resolve(), results)
    finally:
        if not arguments.work:
            shutil.rmtree(work, ignore_errors=True)
    if not results["cases"]:
        sys.exit(f"{stored} is not there, and no network was named")
    print(save(results, arguments.out))


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def peers(text: str) -> list[str]:
        wrong = [name for name in text.split(",") if name not in PEERS]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: there are {', '.join(PEERS)}")
        return ["cnngen", *(name for name in PEERS if name in text.split(",") and name != "cnngen")]

    parser.add_argument("networks", nargs="*", metavar="NETWORK[:BATCH]", help="batch 1 where none is said")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--peers", type=peers, default=[*USUAL], help=f"of {','.join(PEERS)}; default: {','.join(USUAL)}"
    )
    parser.add_argument("--models", type=Path, help="folder with NAME.onnx and NAME.npz: further networks")
    parser.add_argument(
        "--work",
        type=Path,
        help="folder that keeps each network's spec, weights and builds; what is there is used as it is",
    )
    parser.add_argument(
        "--tune", action="store_true", help="run `cnngen tune` on each spec before it is built"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="ENGINE", help="what `cnngen tune` is to leave out"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="networks that are made, tuned and built at a time; each waits for the GPU to itself to measure",
    )
    parser.add_argument(
        "--compile-timeout", type=float, default=180, help="seconds that a peer may take to get ready"
    )
    parser.add_argument("--rounds", type=int, default=10, help="turns of each peer")
    parser.add_argument("--passes", type=int, default=30, help="timed passes in a turn")
    arguments = parser.parse_args(words)
    if arguments.without and not arguments.tune:
        parser.error("--without is what --tune leaves out: it needs --tune")
    return arguments


def measure(arguments: argparse.Namespace, work: Path, results: dict[str, Any]) -> None:
    """Runs all cases, and writes what is known after each."""
    cases = [parse(text, work, arguments.models) for text in arguments.networks]
    with closing(Worker.of("rates", PACKAGES, work / "rates.log")) as worker:
        try:
            rates = worker.answer(ANSWER_S)
        except Failure as failure:
            sys.exit(f"the GPU cannot be measured: {failure}")
    environment = rates.pop("environment")
    if results["cases"] and results["environment"] != environment:
        sys.exit(f"{arguments.out}/compare.json is of {results['environment']}, this is {environment}")
    results["environment"] = environment
    print(f"{environment}\n{rates['bytes'] / 1e12:.2f} TB/s, {rates['flop'] / 1e12:.0f} TFLOP/s", flush=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        # All are made before one is tuned: making runs on the GPU, too.
        made = dict(
            zip(cases, pool.map(lambda case: attempt(make, case, arguments.peers), cases), strict=True)
        )
        ready = [case for case in cases if not made[case]]
        without = arguments.without if arguments.tune else None
        tuned = pool.map(lambda case: attempt(tune_and_build, case, without), ready)
        built = dict(zip(ready, tuned, strict=True))
    for case in cases:
        print(f"{case.label}", flush=True)
        if case in built:
            results["cases"][case.label] = compare(case, arguments, rates, built[case])
        else:
            results["cases"][case.label] = made[case] | {"peers": {}}
            print(f"  {made[case]['failed']}", flush=True)
        save(results, arguments.out)


def attempt(step: Callable[..., dict[str, Any]], *given: object) -> dict[str, Any]:
    """What a step finds, or how it failed, as a row of the results."""
    try:
        return step(*given)
    except Failure as failure:
        return {"failed": str(failure)}


def make(case: Case, peers: Sequence[str]) -> dict[str, Any]:
    """Makes what the peers have in common, of which there is nothing to tell."""
    case.folder.mkdir(parents=True, exist_ok=True)
    wants_file = any(not PEERS[name].missing(case) for name in NEED_FLOAT16_FILE.intersection(peers))
    words = [*case.arguments(), str(int(wants_file))]
    with closing(Worker.of("prepare", words, case.folder / "prepare.log")) as worker:
        worker.answer(ANSWER_S)
    return {}


def tune_and_build(case: Case, without: Sequence[str] | None) -> dict[str, Any]:
    """Seconds that each took, and whether the build was there. `without`: what tuning leaves out; None: no tuning."""
    row: dict[str, Any] = {} if without is None else {"tune_s": tune(case.spec, without)}
    started = time.perf_counter()
    kept = build(case)
    return row | {"build_s": time.perf_counter() - started, "kept": kept}


def save(results: dict[str, Any], out: Path) -> str:
    """Writes the three files; the table's text."""
    (out / "compare.json").write_text(json.dumps(results, indent=1))
    text = table(results)
    (out / "compare.md").write_text(text)
    chart(results, out / "compare.png")
    return text


def compare(
    case: Case, arguments: argparse.Namespace, rates: dict[str, float], built: dict[str, Any]
) -> dict[str, Any]:
    """All peers on one case. `built`: what making cnngen's project took."""
    absent = {name: PEERS[name].missing(case) for name in arguments.peers}
    rows: dict[str, dict[str, Any]] = {name: {"absent": why} for name, why in absent.items() if why}
    workers: dict[str, Worker] = {}
    try:
        for name in arguments.peers:
            if not absent[name]:
                ours = built if name == "cnngen" else {}
                rows[name] = ours if "failed" in ours else get_ready(name, case, arguments, workers) | ours
                print(f"  {name}: {rows[name]}", flush=True)
        take_turns(workers, rows, arguments.rounds, arguments.passes)
    finally:
        for worker in workers.values():
            worker.close()
    if "cnngen" in workers:
        runs = start_up(project_of(case))
        rows["cnngen"] |= {"start_ms": beyond_context(runs), "start_parts_ms": runs}
    ordered = {name: rows[name] for name in PEERS if name in rows}
    return {"floor": floor(case, rates), "rates": rates, "peers": ordered}


def get_ready(
    name: str, case: Case, arguments: argparse.Namespace, workers: dict[str, Worker]
) -> dict[str, Any]:
    """Starts a peer's worker, and tells how that went."""
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(case.folder / "inductor")}
    worker = None
    try:
        worker = Worker.of(name, case.arguments(), case.folder / f"{name}.log", kept)
        row = worker.answer(arguments.compile_timeout)
    except Failure as failure:
        if worker is not None:
            worker.close()
        return {"failed": str(failure)}
    workers[name] = worker
    return row


def tune(spec: Path, without: Sequence[str]) -> float:
    """Seconds that `cnngen tune` takes; it leaves what it found beside the spec, where the build reads it."""
    started = time.perf_counter()
    left_out = [word for engine in without for word in ("--without", engine)]
    command = [sys.executable, "-m", "cnngen", "tune", *left_out, spec.name]
    # Not in the checkout's root, whose folder cnngen/ is only the facade.
    log = spec.parent / "tune.log"
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, stderr=file, check=False, cwd=spec.parent)
    if done.returncode:
        said = log.read_text().strip().splitlines() or [f"exit {done.returncode}"]
        raise Failure(f"cnngen tune: {said[-1]}")
    return time.perf_counter() - started


def build(case: Case) -> bool:
    """Builds cnngen's project; whether it was there. Raises Failure."""
    import cnngen
    from cnngen.spec import CnngenError

    try:
        return cnngen.build(case.spec, case.folder / "generated", target="cuda").cached
    except CnngenError as error:
        raise Failure(f"cnngen build: {error}") from error


def take_turns(workers: dict[str, Worker], rows: dict[str, dict[str, Any]], rounds: int, passes: int) -> None:
    """Adds to the rows what all passes took, and the error; who fails leaves `workers`."""
    times: dict[str, list[float]] = {name: [] for name in workers}

    def ask(name: str, **question: Any) -> dict[str, Any]:
        try:
            return workers[name].ask(ANSWER_S, **question)
        except Failure as failure:
            rows[name] = {"failed": str(failure)}
            workers.pop(name).close()
            return {}

    for _ in range(rounds):
        for name in list(workers):
            times[name] += ask(name, passes=passes).get("ms", [])
    for name in list(workers):
        if answer := ask(name, check=True):
            rows[name] |= answer | summary(times[name])
            print(f"  {name}: {rows[name]['ms']['median']:.3f} ms", flush=True)


def summary(times: list[float]) -> dict[str, Any]:
    low, median, high = quantiles(times, n=4)
    return {"ms": {"median": median, "low": low, "high": high}, "passes": len(times)}


def project_of(case: Case) -> Path:
    from cnngen.spec import load_spec

    return case.folder / "generated" / load_spec(case.spec).name


def beyond_context(runs: dict[str, Any]) -> dict[str, float]:
    """Milliseconds from constructor to ready, without those of the CUDA context."""
    return {name: run["ready"] - run["context"] for name, run in runs.items() if "error" not in run}


def floor(case: Case, rates: dict[str, float]) -> dict[str, float]:
    """The floor of the plan that cnngen makes of the case's spec, by its lock where there is one."""
    from floor import Rates, floor_of

    from cnngen.codegen.architectures import gpu_names
    from cnngen.codegen.generate import plan_spec
    from cnngen.codegen.locking import choose_lock

    chosen = choose_lock(case.spec, None, gpu_names())
    plan = plan_spec(case.spec, lock=chosen.lock if chosen else None)
    found = floor_of(plan.batches[0], Rates(rates["bytes"], rates["flop"]))
    return {
        "layers_ms": found.layers_s * 1e3,
        "network_ms": found.network_s * 1e3,
        "steps": len(found.steps),
        "gflop": found.network.flop / 1e9,
        "layers_mb": sum(step.bytes for step in found.steps) / 1e6,
        "network_mb": found.network.bytes / 1e6,
    }


if __name__ == "__main__":
    main()
