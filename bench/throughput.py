"""Batches a second from host memory, against what the copies alone and the computation alone would take.

    python bench/throughput.py --out DIR [--batch 64] [--dtype float32 float16 uint8] [NETWORK | MODEL.onnx | PROJECT]

NETWORK is one of networks.py (default: resnet50; needs torchvision), PROJECT a folder that cnngen has built. A network
is built with float16 storage, its input of the type that --dtype names, channels last. For each type:

  compute   a pass whose inputs and outputs are on the GPU
  copies    the inputs to the GPU and the outputs back, from and to page-locked memory, one after the other
  ms        a batch in a pipeline: its inputs in ordinary memory, in page-locked memory, or item by item through map()
  share     the larger of the first two, over ms: 100 % is what no pipeline can be better than by much

Sources are several batches in turn, more than a cache holds. Needs torch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("cnngen", "torch", "nvidia-cudnn-cu13")
SOURCES = 6  # batches in turn
REPEATS = 50  # passes and copies that are timed together
Row = dict[str, Any]
Passes = Generator[None, None, None]  # goes on after each pass


def main() -> None:
    arguments = _arguments()
    import torch
    from machine import environment

    arguments.out.mkdir(parents=True, exist_ok=True)
    work = Path(arguments.work or tempfile.mkdtemp(prefix="cnngen-bench-"))
    results: Row = {"environment": environment(PACKAGES), "cores": len(os.sched_getaffinity(0)), "rows": []}
    torch.set_grad_enabled(False)
    for dtype, project in built(arguments, work):
        results["rows"] += measure(dtype, project, arguments)
        (arguments.out / "throughput.json").write_text(json.dumps(results, indent=1))
    print(f"{json.dumps(results['environment'])}, {results['cores']} cores\n\n{table(results['rows'])}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="?", default="resnet50")
    parser.add_argument("--out", required=True, type=Path, help="folder for throughput.json")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "float16", "uint8"])
    parser.add_argument("--contexts", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--seconds", type=float, default=2.0, help="that each pipeline is timed for")
    parser.add_argument("--arch", default="90")
    parser.add_argument("--work", help="folder for built networks; default: a temporary one")
    return parser.parse_args()


# --- networks ----------------------------------------------------------------------------------------------------


def built(arguments: argparse.Namespace, work: Path) -> Iterator[tuple[str, Path]]:
    """The project for each type of the input; a given project has the one that it was built with."""
    given = Path(arguments.network)
    if given.is_dir():
        yield "as built", given
        return
    onnx = given if given.suffix == ".onnx" else exported(arguments.network, work)
    for dtype in arguments.dtype:
        yield dtype, build(onnx, dtype, arguments.batch, work, arguments.arch)


def exported(name: str, work: Path) -> Path:
    from networks import export, network

    module, shape = network(name)
    path = work / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(module, shape, path)
    return path


def build(onnx: Path, dtype: str, batch: int, work: Path, arch: str) -> Path:
    import build_network

    spec, weights = describe(onnx, dtype, batch)
    return build_network.build(spec, weights, work, arch).project


def describe(onnx: Path, dtype: str, batch: int) -> tuple[Any, Any]:
    """The spec and weights of a model whose images are of that type, channels last."""
    from cnngen.spec.onnx import import_onnx

    name = re.sub(r"\W", "_", f"{onnx.stem}_{dtype}")
    spec, weights = import_onnx(onnx, name=name, batch_sizes=[batch])
    data = spec.model_dump(exclude_unset=True) | {"precision": "float16"}
    for tensor in data["inputs"].values():
        tensor["dtype"] = dtype
        if len(tensor["shape"]) == 4:
            tensor["layout"] = "NHWC"
    return type(spec).model_validate(data), weights


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(dtype: str, project: Path, arguments: argparse.Namespace) -> list[Row]:
    """One row for each way of feeding and number of contexts."""
    import torch

    import cnngen

    module = cnngen.load(project)
    net = module.Network()
    batch = min(arguments.batch, module.BATCH_SIZES[-1])
    ordinary = [random_batch(module.INPUTS, batch, seed) for seed in range(SOURCES)]
    pinned = [tuple(torch.from_numpy(array).pin_memory() for array in arrays) for arrays in ordinary]
    outputs = [torch.empty(batch, *shape, dtype=getattr(torch, t)) for shape, t in module.OUTPUTS.values()]
    compute = compute_ms(net, pinned[0], outputs)
    there, back = copy_ms(pinned[0], "cuda"), copy_ms([output.cuda() for output in outputs], "cpu")
    known = {"network": module.__name__, "dtype": dtype, "batch": batch, "compute": compute, "there": there}
    known |= {"back": back, "bound": max(compute, there + back)}
    rows = []
    for contexts in arguments.contexts:
        with net.pipeline(contexts) as pipeline:
            feeds: dict[str, Callable[[], Passes]] = {
                "ordinary": lambda: batches_of(pipeline, itertools.cycle(ordinary)),
                "page-locked": lambda: batches_of(pipeline, itertools.cycle(pinned)),
                "map": lambda: batches_of_map(pipeline, itertools.cycle(ordinary), batch),
            }
            for feed, passes in feeds.items():
                took = timed(passes(), arguments.seconds, warm_up=3 * contexts + SOURCES)
                rows.append(known | {"feed": feed, "contexts": contexts, "ms": took})
                print(table(rows[-1:], head=len(rows) == 1), flush=True)
    return rows


def random_batch(inputs: dict[str, Any], batch: int, seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return tuple((rng.random((batch, *shape), np.float32) * 4).astype(t) for shape, t in inputs.values())


def compute_ms(net: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> float:
    import torch

    context, stream = net.context(), torch.cuda.Stream()
    there, out = [array.cuda() for array in inputs], [output.cuda() for output in outputs]
    torch.cuda.synchronize()
    return on_gpu(lambda: context.run_async(*there, out=out, stream=stream.cuda_stream), stream)


def copy_ms(tensors: Sequence[Any], to: str) -> float:
    """From the GPU or to it; what lies on the host is page-locked."""
    import torch

    stream = torch.cuda.Stream()
    targets = [torch.empty_like(tensor, device=to, pin_memory=to == "cpu") for tensor in tensors]

    def copy() -> None:
        with torch.cuda.stream(stream):
            for target, tensor in zip(targets, tensors, strict=True):
                target.copy_(tensor, non_blocking=True)

    return on_gpu(copy, stream)


def on_gpu(work: Callable[[], Any], stream: Any) -> float:
    """Milliseconds of one, enqueued many times: the least of several rounds."""
    import torch

    rounds = []
    for _ in range(5):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record(stream)
        for _ in range(REPEATS):
            work()
        end.record(stream)
        end.synchronize()
        rounds.append(begin.elapsed_time(end) / REPEATS)
    return min(rounds)


def batches_of(pipeline: Any, sources: Iterator[Sequence[Any]]) -> Passes:
    """Goes on whenever a batch's results have come."""
    try:
        for arrays in sources:
            if pipeline.pending == pipeline.contexts:
                pipeline.next()
                yield
            pipeline.submit(*arrays)
    finally:
        while pipeline.pending:
            pipeline.next()


def batches_of_map(pipeline: Any, sources: Iterator[Sequence[Any]], batch: int) -> Passes:
    """The same, item by item."""
    items = (item for arrays in sources for item in zip(*arrays, strict=True))
    for done, _ in enumerate(pipeline.map(items, progress=False), 1):
        if done % batch == 0:
            yield


def timed(passes: Passes, seconds: float, warm_up: int) -> float:
    """Milliseconds a pass, of as many as come in so many seconds."""
    for _ in range(warm_up):
        next(passes)
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        next(passes)
        done += 1
    took = time.perf_counter() - begin
    passes.close()
    return took / done * 1e3


# --- report ------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row], head: bool = True) -> str:
    columns = "| network | input | batch | compute ms | copies ms | from | contexts | ms | images/s | share |"
    lines = [columns, "|---|---|---|---|---|---|---|---|---|---|"] if head else []
    for row in rows:
        share, rate = row["bound"] / row["ms"], row["batch"] / row["ms"] * 1e3
        lines.append(
            f"| {row['network']} | {row['dtype']} | {row['batch']} | {row['compute']:.3f} "
            f"| {row['there']:.3f} + {row['back']:.3f} | {row['feed']} | {row['contexts']} | {row['ms']:.3f} "
            f"| {rate:.0f} | {share:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
