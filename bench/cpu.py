"""Networks on the CPU, time and memory against onnxruntime's, in one run.

    python bench/cpu.py MODEL.onnx[:input=1x3x256x256] ... [--threads 2] [--onnxruntime PYTHON]

A shape is for an input that has dynamic axes.

Each model is imported, built for the CPU, and loaded into a process of its own, and into another one by onnxruntime.
The two run in turn, a few runs at a time; the medians of all runs are compared, and the ratio is that of the medians.
Memory is the largest resident set of each process, Python and the loaded model included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

REST_S = 0.05  # until the other's threads have gone to sleep


class Worker:
    """A process that has loaded a model, and runs it when it is told to."""

    def __init__(self, python: str, kind: str, model: Path, inputs: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [python, __file__, "--worker", kind, str(model), str(inputs), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, **question: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work(kind: str, model: str, inputs: str, threads: int) -> None:
    """What a worker does: answers questions on its standard input."""
    arrays = dict(np.load(inputs))
    if kind == "cnngen":
        import cnngen

        network = cnngen.load(model).Network(threads=threads)

        def run() -> Any:
            return network(*arrays.values())
    else:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run() -> Any:
            return session.run(None, arrays)

    for line in sys.stdin:
        question = json.loads(line)
        times = []
        for _ in range(question.get("runs", 0)):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        if "save" in question:
            results = run()
            results = results if isinstance(results, list | tuple) else [results]
            np.savez(question["save"], *results)
        status = Path("/proc/self/status").read_text()
        peak = int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM")))
        print(json.dumps({"times": times, "peak_kib": peak}), flush=True)


def error(folder: Path) -> float:
    """The relative distance of the two workers' results."""
    got, want = (np.load(folder / f"{kind}.npz") for kind in ("cnngen", "onnxruntime"))
    distances = [np.linalg.norm(got[k].reshape(want[k].shape) - want[k]) for k in want]
    return max(float(d / np.linalg.norm(want[k])) for d, k in zip(distances, want, strict=True))


def build(model: Path, shapes: dict[str, list[int]], folder: Path) -> tuple[Path, dict[str, Any]]:
    """Imports and builds a model; its project's folder, and numbers for its inputs."""
    from safetensors.numpy import save_file

    import cnngen
    from cnngen.spec import dump_spec
    from cnngen.spec.onnx import import_onnx

    spec, weights = import_onnx(model, batch_sizes=[1], shapes=shapes)
    save_file(weights, folder / "weights.safetensors")
    path = folder / "spec.yaml"
    path.write_text(dump_spec(spec.model_copy(update={"weights": "weights.safetensors"})))
    rng = np.random.default_rng(0)
    inputs = {name: rng.standard_normal(i.shape, np.float32) for name, i in spec.inputs.items()}
    return cnngen.build(path, folder / "generated", target="cpu").project, inputs


def compare(named: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both on one model."""
    path, *given = named.split(":")
    model = Path(path)
    shapes = {name: [int(n) for n in text.split("x")] for name, text in (one.split("=") for one in given)}
    project, inputs = build(model, shapes, folder)
    np.savez(folder / "inputs.npz", **inputs)
    workers = {
        "cnngen": Worker(sys.executable, "cnngen", project, folder / "inputs.npz", arguments.threads),
        "onnxruntime": Worker(
            arguments.onnxruntime, "onnxruntime", model, folder / "inputs.npz", arguments.threads
        ),
    }
    times: dict[str, list[float]] = {kind: [] for kind in workers}
    peaks: dict[str, int] = {}
    for kind, worker in workers.items():
        worker.ask(runs=2, save=str(folder / kind))
    deadline = time.perf_counter() + arguments.seconds
    while time.perf_counter() < deadline or len(times["cnngen"]) < arguments.rounds:
        for kind, worker in workers.items():
            time.sleep(REST_S)
            worker.ask(runs=1)  # what the other has put into the caches is gone then
            answer = worker.ask(runs=3)
            times[kind] += answer["times"]
            peaks[kind] = answer["peak_kib"]
    for worker in workers.values():
        worker.close()
    own, other = (1000 * median(times[kind]) for kind in workers)
    return {
        "model": model.stem,
        "cnngen_ms": round(own, 2),
        "onnxruntime_ms": round(other, 2),
        "ratio": round(own / other, 3),
        "cnngen_mib": round(peaks["cnngen"] / 1024),
        "onnxruntime_mib": round(peaks["onnxruntime"] / 1024),
        "error": f"{error(folder):.1e}",
        "runs": len(times["cnngen"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="ONNX files, each with the shapes of its inputs behind it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="for each model")
    parser.add_argument("--rounds", type=int, default=9, help="at least so many runs each")
    parser.add_argument("--onnxruntime", default=sys.executable, help="the Python that has onnxruntime")
    arguments = parser.parse_args()
    print(f"{'model':28}{'cnngen':>10}{'onnxruntime':>13}{'ratio':>8}{'memory':>19}{'error':>10}{'runs':>6}")
    for model in arguments.models:
        with TemporaryDirectory() as folder:
            r = compare(model, arguments, Path(folder))
        memory = f"{r['cnngen_mib']} : {r['onnxruntime_mib']} MiB"
        print(
            f"{r['model']:28}{r['cnngen_ms']:>7} ms{r['onnxruntime_ms']:>10} ms{r['ratio']:>8}"
            f"{memory:>19}{r['error']:>10}{r['runs']:>6}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main()
