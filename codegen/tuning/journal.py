"""What has been measured, kept line by line while tuning goes on: one that is interrupted goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """What a step takes by an engine or tile."""

    engine: str
    us: float
    spread: float  # between the quartiles
    rank: int  # in the order in which engines were offered
    workspace: int = 0


class Journal:
    """Timings of steps by their text, on one machine and under one set of conditions; any other file is begun anew."""

    def __init__(self, path: Path, machine: Mapping[str, str]) -> None:
        self.path = path
        self.steps: dict[str, tuple[Timing, ...]] = {}
        self.rejected: list[str] = []
        head = json.dumps({"machine": dict(sorted(machine.items()))})
        lines = path.read_text().splitlines() if path.is_file() else []
        if lines and lines[0] == head:
            for line in lines[1:]:
                self._read(line)
        else:
            path.write_text(head + "\n")

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self.steps[entry["step"]] = tuple(Timing(**timing) for timing in entry["timings"])
            self.rejected += entry["rejected"]
        except (ValueError, KeyError, TypeError):
            return  # the line that was being written when it was interrupted

    def add(self, step: str, timings: Sequence[Timing], rejected: Sequence[str]) -> None:
        """Keeps a step's timings, fastest first, and which engines were found to be wrong."""
        ordered = tuple(sorted(timings, key=lambda timing: timing.us))
        self.steps[step] = ordered
        self.rejected += rejected
        entry = {"step": step, "timings": [asdict(timing) for timing in ordered], "rejected": list(rejected)}
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
