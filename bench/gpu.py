"""What must hold on a GPU: results, speed, memory, start-up, each against a peer or a bound. Prints tables.

    python bench/gpu.py --out DIR [--arch 90] [--weights DIR] [NETWORK ...]

Builds every network in fp32 (TF32 off) and fp16, compares with onnxruntime's fp32 result on fresh random inputs, and
times one CUDA graph launch a pass against eager PyTorch under its own CUDA graph, in this process, alternating; both
get float16 channels-last inputs that are on the GPU. Needs torch, torchvision, onnx, onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import environment, memory, relative, start_up

HERE = Path(__file__).resolve().parent
NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "matting_bilinear", "unet_bilinear")
PACKAGES = ("torch", "onnxruntime", "nvidia-cudnn-cu13")
BATCHES = {"resnet50": (1, 8, 64)}
LIMITS_MS = {("resnet50", 1): 0.40, ("resnet50", 64): 2.8}
PRECISIONS = ("float32", "float16")


def main() -> None:
    arguments = _arguments()
    import torch

    names = arguments.networks or list(NETWORKS)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    work = Path(arguments.work or tempfile.mkdtemp(prefix="cnngen-bench-"))
    work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"environment": environment(PACKAGES)}
    print(json.dumps(results["environment"], indent=1), flush=True)
    torch.set_grad_enabled(False)
    modules = prepare(names, work, arguments)
    results["results"] = [row for name in names for row in check(name, modules, work)]
    results["speed"] = [row for name in names for row in speed(name, modules, work)]
    results["start_up"] = [{"network": name, **start_up(work / f"{name}_float16")} for name in names]
    results["memory"] = [{"network": name, **memory(work / f"{name}_float16")} for name in names]
    results["allocations"] = allocations(names[-1] if "resnet50" not in names else "resnet50", work)
    (out / "gpu.json").write_text(json.dumps(results, indent=1))
    text = report(results)
    (out / "gpu.md").write_text(text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*")
    parser.add_argument("--out", required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--work", help="folder for built networks; default: a temporary one")
    parser.add_argument("--arch", default="90")
    parser.add_argument("--weights", type=Path, help="folder with <network>.safetensors, trained")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    return parser.parse_args()


# --- building ----------------------------------------------------------------------------------------------------


def prepare(names: list[str], work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Exports every network, and builds it in every precision, several at once."""
    from networks import export, network

    modules = {}
    for name in names:
        module, shape = network(name, arguments.weights)
        modules[name] = (module, shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export(module, shape, work / f"{name}.onnx")
        module.eval()
    jobs = [(name, precision) for name in names for precision in PRECISIONS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        started = time.time()
        seconds = list(pool.map(lambda job: build(*job, work, arguments.arch), jobs))
    for (name, precision), took in zip(jobs, seconds, strict=True):
        print(f"built {name} {precision} in {took:.1f} s", flush=True)
    print(f"built all in {time.time() - started:.1f} s", flush=True)
    return modules


def build(name: str, precision: str, work: Path, arch: str) -> float:
    """Runs the importer and the build in a process of their own; returns seconds."""
    started = time.time()
    command = [
        sys.executable,
        str(HERE / "build_network.py"),
        str(work / f"{name}.onnx"),
        f"{name}_{precision}",
        precision,
        ",".join(map(str, BATCHES.get(name, (1, 8)))),
        str(work),
        arch,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"building {name} {precision} failed:\n{done.stdout}\n{done.stderr}")
    return time.time() - started


def load(name: str, precision: str, work: Path) -> Any:
    import cnngen

    return cnngen.load(work / f"{name}_{precision}")


# --- results -----------------------------------------------------------------------------------------------------


def check(name: str, modules: dict[str, Any], work: Path) -> list[dict[str, Any]]:
    """Differences to onnxruntime's fp32 result on fresh random inputs; PyTorch's in fp16 beside ours."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(work / f"{name}.onnx", providers=["CPUExecutionProvider"])
    rng = np.random.default_rng()
    rows = []
    for precision in PRECISIONS:
        net = load(name, precision, work).Network()
        for batch in (1, 8):
            x = rng.standard_normal((batch, *modules[name][1]), np.float32)
            half = precision == "float16"
            if half:
                x = x.astype(np.float16).astype(np.float32)
            reference = session.run(None, {"input": x})[0].astype(np.float64)
            given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float16) if half else x
            got = np.asarray(net(given), np.float64)
            difference = np.abs(got - reference).max() / np.abs(reference).max()
            l2 = relative(got, reference)
            ok = bool(l2 <= 5e-3) if half else bool(difference <= 1e-4)
            row = {
                "network": name,
                "precision": precision,
                "batch": batch,
                "max": float(difference),
                "l2": l2,
                "ok": ok,
            }
            # The same data from the GPU must give the same result, in place.
            there = net(torch.from_numpy(given).cuda())
            row["from_gpu"] = relative(there.double().cpu().numpy(), got)
            if half:
                peer = modules[name][0].cuda().half()(torch.from_numpy(x).cuda().half())
                row["torch_l2"] = relative(peer.double().cpu().numpy(), reference)
                modules[name][0].cpu().float()
            rows.append(row)
            print(rows[-1], flush=True)
    return rows


# --- speed -------------------------------------------------------------------------------------------------------


def speed(name: str, modules: dict[str, Any], work: Path) -> list[dict[str, Any]]:
    """Median milliseconds a pass, alternating with PyTorch."""
    import torch

    module, shape = modules[name]
    half = module.cuda().half().to(memory_format=torch.channels_last)
    net = load(name, "float16", work).Network()
    context = net.context()
    rows = []
    for batch in BATCHES.get(name, (1, 8)):
        x = torch.randn(batch, *shape, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
        nhwc = x.permute(0, 2, 3, 1).contiguous()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            replay, peer = captured(half, x)
            y = torch.empty_like(peer, memory_format=torch.contiguous_format)
            ours = lambda: context.run_async(nhwc, out=y, stream=stream.cuda_stream)  # noqa: E731, B023
            times = alternate({"cnngen": ours, "torch": replay}, stream)
            expected = peer.clone()  # PyTorch's replay may write over what was allocated after its capture
            ours()
        stream.synchronize()
        error = relative(y.double().cpu().numpy(), expected.double().cpu().numpy())
        row = {
            "network": name,
            "batch": batch,
            **times,
            "against_torch": error,
            "limit": LIMITS_MS.get((name, batch)),
        }
        row["ok"] = bool(times["cnngen"]["median"] <= min(times["torch"]["median"], row["limit"] or 1e9))
        rows.append(row)
        print({key: value for key, value in row.items() if key != "profile"}, flush=True)
        layers = net.profile(nhwc)
        row["profile"] = [[layer, round(microseconds, 2)] for layer, microseconds in layers]
    module.cpu().float().to(memory_format=torch.contiguous_format)
    return rows


def captured(module: Any, x: Any) -> tuple[Any, Any]:
    """Eager PyTorch under a CUDA graph, its engines chosen by its own benchmark."""
    import torch

    torch.backends.cudnn.benchmark = True
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            module(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = module(x)
    return graph.replay, y


def alternate(runs: dict[str, Any], stream: Any, rounds: int = 10, repeats: int = 30) -> dict[str, Any]:
    """Milliseconds of each run: median and quartiles over all repeats."""
    import torch

    for run in runs.values():
        for _ in range(20):
            run()
    stream.synchronize()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            events = [(torch.cuda.Event(True), torch.cuda.Event(True)) for _ in range(repeats)]
            for start, end in events:
                start.record(stream)
                run()
                end.record(stream)
            stream.synchronize()
            times[name] += [start.elapsed_time(end) for start, end in events]
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
    return {name: {"median": q[1], "low": q[0], "high": q[2]} for name, q in quartiles.items()}


# --- allocations ----------------------------------------------------------------------------------------------------


def allocations(name: str, work: Path) -> list[str]:
    """What 1,000 passes allocate, counted by a C++ program that stands before the allocators."""
    project = work / f"{name}_float16"
    build = work / "allocations"
    steps = [
        [
            "cmake",
            "-S",
            str(HERE / "allocations"),
            "-B",
            str(build),
            f"-DPROJECT_DIR={project}",
            f"-DNAME={project.name}",
            "-DCMAKE_CUDA_ARCHITECTURES=90",
        ],
        ["cmake", "--build", str(build), "-j"],
        [str(build / "allocations"), str(project / f"{project.name}.weights.safetensors")],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            return [f"error: {(done.stdout + done.stderr)[-1500:]}"]
    return done.stdout.splitlines()


# --- report ------------------------------------------------------------------------------------------------------


def report(results: dict[str, Any]) -> str:
    environment = ", ".join(f"{key} {value}" for key, value in results["environment"].items())
    lines = [
        "# Results",
        "",
        f"`python bench/gpu.py`: {environment}.",
        "",
        "## Against onnxruntime (fp32, CPU)",
        "",
        "fp32 (TF32 off): max difference over max output, at most 1e-4; fp16: relative L2, at most 5e-3.",
        "",
        "| network | batch | fp32 | fp16 | PyTorch fp16 | |",
        "|---|---|---|---|---|---|",
    ]
    rows = {(row["network"], row["batch"], row["precision"]): row for row in results["results"]}
    for name, batch in dict.fromkeys((row["network"], row["batch"]) for row in results["results"]):
        exact, half = rows[name, batch, "float32"], rows[name, batch, "float16"]
        verdict = "ok" if exact["ok"] and half["ok"] else "MISSED"
        lines.append(
            f"| {name} | {batch} | {exact['max']:.1e} | {half['l2']:.1e} "
            f"| {half['torch_l2']:.1e} | {verdict} |"
        )
    lines += [
        "",
        "## Speed (fp16, ms a pass: median, quartiles)",
        "",
        "| network | batch | cnngen | PyTorch, CUDA graph | ratio | limit | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["speed"]:
        ours, peer = row["cnngen"], row["torch"]
        lines.append(
            f"| {row['network']} | {row['batch']} | {ours['median']:.3f} ({ours['low']:.3f} to {ours['high']:.3f}) "
            f"| {peer['median']:.3f} ({peer['low']:.3f} to {peer['high']:.3f}) "
            f"| {ours['median'] / peer['median']:.2f} | {row['limit'] or ''} "
            f"| {'ok' if row['ok'] else 'MISSED'} |"
        )
    lines += [
        "",
        "## Start-up (ms, constructor to ready; first: no plans kept, again: plans kept on disk)",
        "",
        "| network | first | again | parts of again |",
        "|---|---|---|---|",
    ]
    for row in results["start_up"]:
        first, again = row["first"], row["again"]
        if "error" in again:
            lines.append(f"| {row['network']} | error | {again['error'][-300:]} | |")
            continue
        parts = ", ".join(f"{key} {value:.0f}" for key, value in again.items() if key != "ready")
        lines.append(f"| {row['network']} | {first['ready']:.0f} | {again['ready']:.0f} | {parts} |")
    lines += [
        "",
        "## Memory (MB on the device, fp16, all batch sizes)",
        "",
        "What one more network with its context takes, and what one more context takes, is read off the GPU.",
        "",
        "| network | weights | arena | workspace | network + context: planned | taken | context: planned | taken |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["memory"]:
        if "error" in row:
            lines.append(f"| {row['network']} | error | {row['error'][-300:]} | | | |")
            continue
        planned = row["planned"]
        device = [planned[part] for part in ("weights", "arena", "workspace")]
        values = [*device, sum(device), row["one_network"], sum(device[1:]), row["one_context"]]
        cells = " | ".join(f"{value / 1e6:.2f}" for value in values)
        lines.append(f"| {row['network']} | {cells} |")
    lines += ["", "## Allocations (resnet50, fp16, batch 1)", "", "```", *results["allocations"], "```"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
