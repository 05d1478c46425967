"""bench/talk.py and talk_page.py: what the program's lines become on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import talk
import talk_page
from talk_page import UNMEASURED, best, fill, sections

PAGE = talk.PAGE.read_text()


def engine(us: float, *notes: str, number: int = 1) -> dict[str, Any]:
    return {"engine": f"cudnn {number} 24=3", "notes": list(notes), "workspace": 1 << 20, "us": us}


RESULTS: dict[str, Any] = {
    "environment": {"gpu": "Some GPU", "cuDNN": "9.19.0"},
    "engines": {
        "3x3": {
            "algorithms": [
                {"algorithm": "implicit GEMM", "workspace": 0, "us": 300.0},
                {"algorithm": "GEMM", "workspace": 72 << 20, "us": 500.0},
                {"algorithm": "Winograd", "failed": "cuDNN: not supported"},
                {"failed": "an illegal access"},
            ],
            "engines": [
                engine(200, "tensor cores", number=67),
                engine(250, number=28),
                engine(290, number=0),
            ],
        }
    },
    "layouts": [
        {"shape": "128x128x128 → 128, 3x3", "dtype": dtype, "layout": layout, "engines": lines}
        for dtype, layout, lines in (
            ("float32", "NCHW", [engine(100), engine(60, "tensor cores")]),
            ("float32", "NHWC", [engine(120), engine(30, "inputs rounded")]),
            ("float16", "NCHW", [engine(30, "tensor cores")]),
            ("float16", "NHWC", [engine(40, "tensor cores"), engine(15, "tensor cores")]),
        )
    ],
    "padding": [{"channels": c, "engines": [engine(us)]} for c, us in ((3, 100), (4, 20), (8, 98))],
    "folding": [
        {"shape": "2048x2048x8 → 8, 3x3", "engines": [engine(100)]},
        {"shape": "1024x1024x32 → 32, 3x3", "engines": [engine(200)]},
    ],
    "buffers": [
        {"experiment": "buffers", "bytes_each": 144e6, "us_each": 400.0, "bytes_two": 26e6, "us_two": 390.0}
    ],
    "weights": [
        {"experiment": "weights", "bytes": 89e6, "us_once": 100.0, "us_every_pass": 1700.0, "us_copy": 1600.0}
    ],
    "streams": [{"failed": "not waited for: over 240 s"}],
}


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line[:2] == "| "
    ]


def test_the_page_has_a_place_for_every_experiment() -> None:
    marked = re.findall(r"<!-- measured: (\w+) -->\n\n(?:.|\n)+?\n\n<!-- end -->", PAGE)
    assert sorted(marked) == sorted(sections({})) == sorted(["verdicts", *talk.EXPERIMENTS])


def test_filling_changes_what_is_marked_alone() -> None:
    once = fill(PAGE, sections(RESULTS))
    assert fill(once, sections(RESULTS)) == once
    assert once.count(UNMEASURED) == 0
    assert fill(once, dict.fromkeys(sections({}), UNMEASURED)) == fill(
        PAGE, dict.fromkeys(sections({}), UNMEASURED)
    )
    long = [line for line in once.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert long == []


def test_what_is_not_measured_says_so() -> None:
    assert set(sections({}).values()) == {UNMEASURED}
    some = sections({"environment": {"gpu": "Some GPU"}, "padding": RESULTS["padding"]})
    assert some["folding"] == UNMEASURED
    assert [row[0] for row in rows(some["verdicts"])[2:]] == ["pad 3 channels to 8", "pad 3 channels to 4"]


def test_verdicts() -> None:
    text = sections(RESULTS)["verdicts"]
    assert "gpu Some GPU, cuDNN 9.19.0" in text.splitlines()[0]
    assert rows(text)[2:] == [
        ["float32 3x3: Winograd is fastest", "0.26 ms", "implicit GEMM, 0.300 ms", "no"],
        ["float32, 128x128x128 → 128, 3x3: channels first", "1.9 times faster", "1.20 times", "yes"],
        ["float16, 128x128x128 → 128, 3x3: channels last", "1.4 times faster", "2.00 times", "yes"],
        ["pad 3 channels to 8", "4.7 times faster", "1.02 times", "makes no difference"],
        ["pad 3 channels to 4", "", "5.00 times", "yes"],
        ["fold 2x2 pixels into channels", "3.3 times faster", "0.50 times", "no"],
        ["two activation buffers in turn: time", "", "1.03 times", "makes no difference"],
        ["weights copied once", "", "17.00 times", "yes"],
    ]


def test_engines_stand_beside_algorithms() -> None:
    found = {row[0]: row[1:] for row in rows(sections(RESULTS)["engines"])}
    assert found["GEMM"] == ["0.76", "72", "0.500", "72.00"]
    assert found["Winograd"] == ["0.26", "1.56", "cannot run", ""]
    assert found["the heuristic's first: engine 67 (tensor cores)"] == ["", "", "0.200", "1.00"]
    assert found["the fastest in exact float32: engine 28"] == ["", "", "0.250", "1.00"]


def test_float32_is_exact_or_tf32() -> None:
    found = rows(sections(RESULTS)["layouts"])[2:]
    shape = "128x128x128 → 128, 3x3"
    assert found == [
        [shape, "float32", "0.26", "0.5", "0.100", "0.120"],
        [shape, "TF32", "", "", "0.060", "0.030"],
        [shape, "float16", "0.11", "0.08", "0.030", "0.015"],
    ]
    assert best([{"engine": "3", "notes": [], "failed": "no"}]) is None


def test_an_experiment_that_failed_says_so() -> None:
    assert sections(RESULTS)["streams"] == "It could not be run."


def program(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "talk"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


def test_a_crash_keeps_what_was_printed(tmp_path: Path) -> None:
    crashing = program(
        tmp_path, "echo '{\"us\": 1.5}'", "printf '{\"us\": 2'", "echo 'illegal access' >&2", "exit 3"
    )
    assert talk.run_program(crashing, "engines", c=3) == [{"us": 1.5}, {"failed": "illegal access"}]


def test_one_that_takes_too_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "TIMEOUT_S", 0.5)
    slow = program(tmp_path, "echo '{\"us\": 1.5}'", "exec sleep 60")
    assert talk.run_program(slow, "engines") == [{"us": 1.5}, {"failed": "not waited for: over 0.5 s"}]


def test_every_experiment_asks_for_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a program that only repeats its words: all sections have rows, and the JSON is written after each."""
    echo = program(
        tmp_path,
        'case "$1" in',
        'device) echo \'{"gpu": "Some GPU"}\' ;;',
        'algorithms) echo \'{"algorithm": "GEMM", "workspace": 0, "us": 2.5}\' ;;',
        'engines|all_engines) echo \'{"engine": "cudnn 1", "notes": [], "workspace": 0, "us": 2.5}\' ;;',
        'buffers) echo \'{"bytes_each": 2, "us_each": 2.5, "bytes_two": 1, "us_two": 2.5}\' ;;',
        'weights) echo \'{"bytes": 2, "us_once": 2.5, "us_every_pass": 2.5, "us_copy": 2.5}\' ;;',
        'streams) echo \'{"bytes": 2, "us_pass": 2.5, "us_one_stream": 2.5, "us_overlapped": 2.5}\' ;;',
        "esac",
    )
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr(talk, "build", lambda _folder: echo)
    monkeypatch.setattr(talk, "PAGE", page)
    monkeypatch.setattr(talk.sys, "argv", ["talk.py", "--out", str(tmp_path)])
    talk.main()
    results = json.loads((tmp_path / "talk.json").read_text())
    assert results.keys() == {"environment", *talk.EXPERIMENTS}
    assert all(len(rows(text)) > 2 for text in sections(results).values())
    assert len(results["layouts"]) == 4 * len(talk.SHAPES)
    assert talk_page.LAYOUTS.keys() <= {(row["shape"], row["dtype"]) for row in results["layouts"]}
    monkeypatch.setattr(talk.sys, "argv", ["talk.py", "--out", str(tmp_path), "--docs"])
    talk.main()
    assert page.read_text() == fill(PAGE, sections(results))
