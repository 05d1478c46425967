"""What bench/kernels.py found, as a table, and what ptxas says of kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernel_plan import Step

ENOUGH = 0.8  # of the bandwidth of a copy
COMPILED = re.compile(
    r"Compiling entry function '(?P<symbol>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<out>\d+) bytes spill stores, "
    r"(?P<back>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Resources:
    """Of a kernel: registers of a thread, bytes of it that are in no register, bytes of shared memory of a block."""

    registers: int
    spilled: int  # an array of a thread's that some index keeps out of registers counts, too
    shared: int

    def __str__(self) -> str:
        return f"{self.registers} / {self.spilled} / {self.shared}"


def resources(log: str) -> dict[str, Resources]:
    """By a kernel's name, from what `ptxas -v` says; of several architectures the last one's."""
    found = {}
    for match in COMPILED.finditer(log):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        spilled = sum(int(match[name]) for name in ("stack", "out", "back"))
        found[name_of(match["symbol"])] = Resources(
            int(match["registers"]), spilled, int(shared[1]) if shared else 0
        )
    return found


def name_of(symbol: str) -> str:
    """The last name of a mangled `_ZN7network7kernels4namE...`."""
    rest, name = symbol.removeprefix("_ZN"), symbol
    while length := re.match(r"\d+", rest):
        start, end = length.end(), length.end() + int(length[0])
        name, rest = rest[start:end], rest[end:]
    return name


def table(rows: Sequence[Mapping[str, Any]], copy: float) -> str:
    """Markdown. `copy`: bytes a second of a large copy, read and written."""
    lines = [
        f"A large copy: {copy / 1e9:.0f} GB/s, read and written. A step's bytes are its input, weights and output",
        f"once; its share is that of the copy, by its best tile. !: under {ENOUGH:.0%}. Registers / spilled bytes /",
        "bytes of shared memory are the best tile's.",
        "",
        "| case | step | MB | default µs | best µs | tile | GB/s | share | registers / spilled / shared |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row["bytes"] / row["best_us"] * 1e6
        cells = (
            row["case"],
            row["step"],
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['default_us']:.1f}",
            f"{row['best_us']:.1f}",
            row["tile"] or "-",
            f"{rate / 1e9:.0f}",
            f"{rate / copy:.0%}{'' if rate >= ENOUGH * copy else ' !'}",
            row["resources"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    wrong = [f"- {text}" for row in rows for text in row["wrong"]]
    return "\n".join([*lines, *(["", "Tiles whose results differ:", *wrong] if wrong else []), ""])


def resource_table(steps: Sequence[Step], known: Mapping[str, Resources]) -> str:
    """Every tile of every step."""
    lines = ["| step | tile | registers / spilled / shared |", "|---|---|---|"]
    lines += [
        f"| {step.case.name}, {step.title} | {candidate.tile or '-'} | {known[candidate.kernel]} |"
        for step in steps
        for candidate in step.candidates
    ]
    return "\n".join(lines)


def first_error(said: str) -> str:
    """What compute-sanitizer complains of first; "" where it does not."""
    lines = [line.removeprefix("=========").strip() for line in said.splitlines() if line.startswith("=====")]
    for number, line in enumerate(lines):
        if line and not line.startswith(("COMPUTE-SANITIZER", "ERROR SUMMARY: 0", "RACECHECK SUMMARY: 0")):
            where = next((other for other in lines[number + 1 :] if other.startswith("at ")), "")
            return f"{line} {where}".strip()
    return ""
