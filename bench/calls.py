"""What one call of a network from Python costs the host: microseconds until it returns, the pass then under way.

    python bench/calls.py NETWORK[:BATCH] ... --out DIR

Each way of calling is timed on many calls one after the other, fewer than the GPU's queue holds, in turn with the
others; the least of the medians of several turns counts. For comparison: replaying a CUDA graph by PyTorch. DIR
receives calls.json and calls.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cases import Case, input_sets, parse, prepare
from machine import environment
from peers import captured, in_memory_order

CALLS, TURNS = 50, 9
PACKAGES = ("cnngen", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", metavar="NETWORK[:BATCH]")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--work", type=Path, help="folder that keeps specs, weights and builds")
    arguments = parser.parse_args(sys.argv[1:])
    work = arguments.work or Path(tempfile.mkdtemp(prefix="cnngen-calls-"))
    rows = {}
    for text in arguments.networks:
        case = parse(text, work.resolve(), None)
        prepare(case, False)
        rows[case.label] = times_of(case)
        print(f"{case.label}: {rows[case.label]}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {"environment": environment(PACKAGES), "rows": rows}
    (arguments.out / "calls.json").write_text(json.dumps(results, indent=1))
    (arguments.out / "calls.md").write_text(table(rows))
    print(f"{results['environment']}\n\n{table(rows)}")


def times_of(case: Case) -> dict[str, float]:
    """Microseconds of a call, by how it is made."""
    import torch

    import cnngen
    from cnngen.spec import load_spec

    spec = load_spec(case.spec)
    cnngen.build(case.spec, case.folder / "generated", target="cuda")
    context = cnngen.load(case.folder / "generated" / spec.name).Network().context()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        ports = list(spec.inputs.values())
        sets = [
            [in_memory_order(x.cuda(), port) for x, port in zip(xs, ports, strict=True)]
            for xs in input_sets(case)
        ]
        on = stream.cuda_stream
        made = context.run_async(*sets[0], stream=on)
        out = list(made) if isinstance(made, tuple) else [made]
        replay = captured([lambda: [out[0].add_(0)]])
        ways: dict[str, Callable[[int], Any]] = {
            "torch, the same arrays": lambda _: context.run_async(*sets[0], out=out),
            "torch, its stream named": lambda _: context.run_async(*sets[0], out=out, stream=on),
            "torch, inputs in turn": lambda k: context.run_async(*sets[k % len(sets)], out=out),
            "torch, outputs made": lambda _: context.run_async(*sets[0]),
            "a graph replayed by PyTorch": lambda _: replay(0),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way, call in ways.items():
                found[way].append(timed(call, stream))
    return {way: min(times) for way, times in found.items()}


def timed(call: Callable[[int], Any], stream: Any) -> float:
    """Microseconds, the median of CALLS calls."""
    call(0)
    stream.synchronize()
    times = []
    for k in range(CALLS):
        started = time.perf_counter()
        call(k)
        times.append((time.perf_counter() - started) * 1e6)
    stream.synchronize()
    return median(times)


def table(rows: dict[str, dict[str, float]]) -> str:
    ways = list(next(iter(rows.values())))
    lines = [f"| µs a call | {' | '.join(rows)} |", "|---" * (1 + len(rows)) + "|"]
    lines += [f"| {way} | {' | '.join(f'{row[way]:.1f}' for row in rows.values())} |" for way in ways]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
