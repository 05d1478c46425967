"""A process that has loaded one peer and runs it when it is told to, and the other end of its pipes.

    python bench/worker.py PEER NETWORK BATCH FOLDER MODEL

Each line that a worker is sent asks for something; its answers are lines of JSON, the first one unasked, once it is
ready. What libraries print goes into a log.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

WARM = 10  # passes before those that are timed: another worker has had the caches
COPY_BYTES = 1 << 30
MATMUL = 8192


class Failure(Exception):  # noqa: N818 - it is told in a table, and the run goes on
    """Why a worker gave no answer."""


class Worker:
    """The parent's end."""

    def __init__(self, words: Sequence[str], log: Path, more: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("w") as said:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**os.environ, **(more or {})},
                start_new_session=True,  # so that its own children can be ended with it
            )

    @classmethod
    def of(cls, role: str, arguments: Sequence[str], log: Path, more: dict[str, str] | None = None) -> Worker:
        return cls([sys.executable, __file__, role, *arguments], log, more)

    def answer(self, timeout_s: float) -> Any:
        """The next answer. Raises Failure where none comes in time, or ever."""
        out = self.process.stdout
        assert out is not None
        if not select.select([out], [], [], timeout_s)[0]:
            self.kill()
            raise Failure(f"not waited for: over {timeout_s:.0f} s")
        line = out.readline()
        if not line:
            code = self.process.wait()
            said = [text for text in self.log.read_text(errors="replace").splitlines() if text.strip()]
            raise Failure(said[-1].strip() if said else f"ended with {code}")
        found = json.loads(line)
        if "failed" in found:
            raise Failure(found["failed"])
        return found

    def ask(self, timeout_s: float, **question: Any) -> Any:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `answer` says of what
            print(json.dumps(question), file=self.process.stdin, flush=True)
        return self.answer(timeout_s)

    def close(self) -> None:
        """Lets it end; kills it where it does not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


# --- the worker's end ----------------------------------------------------------------------------------------------


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print where they like

    def tell(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        sys.__excepthook__(kind, error, trace)
        text = " ".join([f"{kind.__name__}:", *str(error).split()])[:300]
        print(json.dumps({"failed": text}), file=answers, flush=True)

    sys.excepthook = tell
    role, *arguments = sys.argv[1:]
    for answer in ROLES.get(role, peer)(role, arguments, sys.stdin):
        print(json.dumps(answer), file=answers, flush=True)


def peer(role: str, arguments: list[str], questions: IO[str]) -> Iterator[dict[str, Any]]:
    """Starts a peer; answers {"passes": n} with the milliseconds of n passes, {"check": true} with the error."""
    import torch
    from cases import Case, errors, input_sets
    from peers import PEERS

    torch.set_grad_enabled(False)
    case = Case.of(*arguments)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        sets = [[x.cuda() for x in xs] for xs in input_sets(case)]
        made = PEERS[role](case, sets, stream)
        free = free_memory()
        started = time.perf_counter()
        kept = made.build()
        built = time.perf_counter()
        run = made.start()
        torch.cuda.synchronize()
        ready = time.perf_counter()
        found = {"build_s": built - started, "kept": kept, "start_ms": (ready - built) * 1e3}
        yield {**found, "memory_mb": (free - free_memory()) / 1e6, **made.facts()}
        for line in questions:
            question = json.loads(line)
            if "passes" in question:
                yield {"ms": time_passes(run, len(sets), question["passes"], stream)}
            else:
                results = [y.clone() for y in run(0)]
                stream.synchronize()
                yield {"error": errors([y.cpu().numpy() for y in results], case.reference)}


def free_memory() -> int:
    """Bytes that the GPU has free, without what torch merely keeps."""
    import torch

    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


def time_passes(run: Callable[[int], Any], sets: int, passes: int, stream: Any) -> list[float]:
    """Milliseconds of each pass, the sets in turn."""
    import torch

    for k in range(WARM):
        run(k % sets)
    stream.synchronize()
    events = [(torch.cuda.Event(True), torch.cuda.Event(True)) for _ in range(passes)]
    for k, (start, end) in enumerate(events):
        start.record(stream)
        run(k % sets)
        end.record(stream)
    stream.synchronize()
    return [start.elapsed_time(end) for start, end in events]


def prepare(_role: str, arguments: list[str], _questions: IO[str]) -> Iterator[dict[str, Any]]:
    """What the peers have in common; the last argument says whether the float16 ONNX file is wanted."""
    from cases import Case
    from cases import prepare as make

    make(Case.of(*arguments[:-1]), bool(int(arguments[-1])))
    yield {}


def rates(_role: str, packages: list[str], _questions: IO[str]) -> Iterator[dict[str, Any]]:
    """The environment, and what the GPU reaches: a large copy, read and written, and a large float16 product."""
    import torch
    from machine import environment

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda").random_()
        y = torch.empty_like(x)
        copy_ms = sorted(time_passes(lambda _k: y.copy_(x), 1, 20, stream))[10]
        a, b = (torch.randn(MATMUL, MATMUL, device="cuda").half() for _ in range(2))
        c = torch.empty_like(a)
        matmul_ms = sorted(time_passes(lambda _k: torch.matmul(a, b, out=c), 1, 20, stream))[10]
    yield {
        "environment": environment(packages),
        "bytes": 2 * COPY_BYTES / copy_ms * 1e3,
        "flop": 2 * MATMUL**3 / matmul_ms * 1e3,
    }


ROLES = {"prepare": prepare, "rates": rates}

if __name__ == "__main__":
    main()
