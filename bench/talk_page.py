"""What talk.json holds, as the tables of docs/talk.md beside the figures of the talk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Lines = Sequence[Mapping[str, Any]]
Cells = Sequence[str]

UNMEASURED = (
    "Not measured yet: `python bench/talk.py --out DIR` on a GPU, then the same with `--docs`, fills this in."
)
SAME = 0.05  # a ratio nearer to 1 than this is no difference

# Of a Quadro GV100, as the talk has them: milliseconds, and MiB of workspace, which it calls MB (GEMM's 72 are 75.5e6
# bytes). None: it could not run, or the talk does not say.
ALGORITHMS: Mapping[str, Mapping[str, tuple[float | None, float | None]]] = {
    "3x3": {
        "GEMM": (0.76, 72),
        "implicit GEMM": (0.62, 0),
        "implicit GEMM, precomputed": (0.47, 0.01),
        "direct": (None, None),
        "FFT": (45.3, 8322),
        "FFT, tiled": (3.69, 70),
        "Winograd": (0.26, 1.56),
        "Winograd, not fused": (2.73, 578),
    },
    "11x11": {
        "GEMM": (8.47, None),
        "implicit GEMM": (6.82, None),
        "implicit GEMM, precomputed": (6.58, None),
        "direct": (None, None),
        "FFT": (44.7, None),
        "FFT, tiled": (5.13, None),
        "Winograd": (None, None),
        "Winograd, not fused": (None, None),
    },
}
LAYOUTS = {  # (shape, type): milliseconds NCHW, NHWC
    ("128x128x128 → 128, 3x3", "float32"): (0.26, 0.50),
    ("128x128x128 → 128, 3x3", "float16"): (0.11, 0.08),
    ("800x800x8 → 400x400x8, 9x9", "float16"): (1.20, 2.53),
}
PADDING = {3: 0.84, 8: 0.18}
FOLDING = (2.01, 0.6)


def sections(results: Mapping[str, Any]) -> dict[str, str]:
    """The text of each marked section of the page."""
    made: dict[str, Callable[[Any], str]] = {
        "engines": _engines,
        "layouts": _layouts,
        "padding": _padding,
        "folding": _folding,
        "buffers": _buffers,
        "weights": _weights,
        "streams": _streams,
    }
    found = {name: make(results[name]) if name in results else UNMEASURED for name, make in made.items()}
    return {"verdicts": _verdicts(results), **found}


def fill(page: str, texts: Mapping[str, str]) -> str:
    """The page with each text between its markers, `<!-- measured: NAME -->` and `<!-- end -->`."""

    def between(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{texts[match[2]]}\n\n{match[3]}"

    return re.sub(r"(<!-- measured: (\w+) -->)\n.*?\n(<!-- end -->)", between, page, flags=re.DOTALL)


def best(lines: Lines, exact: bool | None = None) -> Mapping[str, Any] | None:
    """The fastest line with a time; with `exact`, of those engines that do or do not round float32."""
    timed = [line for line in lines if "us" in line and (exact is None or is_exact(line) == exact)]
    return min(timed, key=lambda line: line["us"], default=None)


def is_exact(line: Mapping[str, Any]) -> bool:
    return not {"tensor cores", "inputs rounded", "reduced precision"} & set(line.get("notes", ()))


# --- what held -----------------------------------------------------------------------------------------------------


def _verdicts(results: Mapping[str, Any]) -> str:
    rows = list(_claims(results))
    if not rows:
        return UNMEASURED
    environment = ", ".join(f"{key} {value}" for key, value in results["environment"].items())
    head = ("what the talk advises", "then", "now", "held")
    return f"By `python bench/talk.py`: {environment}.\n\n{_table(head, rows)}"


def _claims(results: Mapping[str, Any]) -> Iterator[Cells]:
    for name in ALGORITHMS:
        if name in results.get("engines", {}):
            yield from _fastest_algorithm(name, results["engines"][name]["algorithms"])
    times = _layout_times(results.get("layouts", ()))
    for (shape, dtype), (first, last) in LAYOUTS.items():
        here = [times.get((shape, dtype, layout, dtype == "float32")) for layout in ("NCHW", "NHWC")]
        ahead = "channels first" if first < last else "channels last"
        yield from _factor(
            f"{dtype}, {shape}: {ahead}",
            max(first, last) / min(first, last),
            *(here[::-1] if first < last else here),
        )
    padded = {row["channels"]: _us(best(row["engines"])) for row in results.get("padding", ())}
    for channels, then in ((8, PADDING[3] / PADDING[8]), (4, None)):
        yield from _factor(f"pad 3 channels to {channels}", then, padded.get(3), padded.get(channels))
    folded = [_us(best(row["engines"])) for row in results.get("folding", ())]
    if len(folded) == 2:
        yield from _factor("fold 2x2 pixels into channels", FOLDING[0] / FOLDING[1], *folded)
    for what, name, slow, fast in (
        ("two activation buffers in turn: time", "buffers", "us_each", "us_two"),
        ("weights copied once", "weights", "us_every_pass", "us_once"),
        ("copies on streams of their own", "streams", "us_one_stream", "us_overlapped"),
    ):
        for line in results.get(name, ()):
            yield from _factor(what, None, line.get(slow), line.get(fast))


def _fastest_algorithm(kernel: str, lines: Lines) -> Iterator[Cells]:
    timed = {name: ms for name, (ms, _) in ALGORITHMS[kernel].items() if ms is not None}
    then = min(timed, key=lambda name: timed[name])
    now = best(lines)
    if now is not None:
        held = "yes" if now["algorithm"] == then else "no"
        yield (
            f"float32 {kernel}: {then} is fastest",
            f"{timed[then]} ms",
            f"{now['algorithm']}, {_ms(now)} ms",
            held,
        )


def _factor(what: str, then: float | None, slow: float | None, fast: float | None) -> Iterator[Cells]:
    """How many times faster the advised way is."""
    if slow and fast:
        now = slow / fast
        held = "yes" if now > 1 + SAME else "no" if now < 1 - SAME else "makes no difference"
        yield (what, f"{then:.1f} times faster" if then else "", f"{now:.2f} times", held)


# --- the tables ----------------------------------------------------------------------------------------------------


def _engines(results: Any) -> str:
    parts = []
    for kernel, found in results.items():
        here = {line["algorithm"]: line for line in found["algorithms"] if "algorithm" in line}
        rows = []
        for name, (ms, mebibytes) in ALGORITHMS[kernel].items():
            then = (_number(ms), _number(mebibytes))
            now = here.get(name, {})
            rows.append((f"{name}", *then, _ms(now) or "cannot run", _mebibytes(now)))
        for what, line in _chosen(found["engines"]):
            rows.append((what, "", "", _ms(line), _mebibytes(line)))
        head = (f"{kernel}", "ms then", "MiB then", "ms now", "MiB now")
        parts.append(_table(head, rows))
    return "\n\n".join(parts)


def _chosen(lines: Lines) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Of the engines of cuDNN's graphs: the heuristic's first, the fastest exact one, the fastest of all."""
    first = next((line for line in lines if "us" in line), None)
    for what, line in (
        ("the heuristic's first", first),
        ("the fastest in exact float32", best(lines, exact=True)),
        ("the fastest in TF32", best(lines, exact=False)),
    ):
        if line is not None:
            notes = ", ".join(note for note in line["notes"] if note != "nondeterministic")
            yield f"{what}: engine {line['engine'].split()[1]}{f' ({notes})' if notes else ''}", line


def _layout_times(rows: Lines) -> dict[tuple[str, str, str, bool], float | None]:
    """Microseconds by (shape, type, layout, whether float32 stays exact)."""
    return {
        (row["shape"], row["dtype"], row["layout"], exact): _us(
            best(row["engines"], exact if row["dtype"] == "float32" else None)
        )
        for row in rows
        for exact in ((True, False) if row["dtype"] == "float32" else (False,))
    }


def _layouts(results: Any) -> str:
    times = _layout_times(results)
    rows = []
    for shape, dtype, exact in dict.fromkeys((shape, dtype, exact) for shape, dtype, _, exact in times):
        then = LAYOUTS.get((shape, dtype), (None, None)) if exact or dtype == "float16" else (None, None)
        now = [times.get((shape, dtype, layout, exact)) for layout in ("NCHW", "NHWC")]
        name = "TF32" if dtype == "float32" and not exact else dtype
        rows.append(
            (shape, name, *map(_number, then), *(f"{us / 1e3:.3f}" if us else "cannot run" for us in now))
        )
    return _table(("shape", "type", "NCHW then", "NHWC then", "NCHW now", "NHWC now"), rows)


def _padding(results: Any) -> str:
    rows = [
        (str(row["channels"]), _number(PADDING.get(row["channels"])), _ms(best(row["engines"]) or {}))
        for row in results
    ]
    return _table(("channels", "ms then", "ms now"), rows)


def _folding(results: Any) -> str:
    rows = []
    for row, then in zip(results, FOLDING, strict=True):
        line = best(row["engines"]) or {}
        rows.append((row["shape"], str(then), _ms(line), _mebibytes(line)))
    return _table(("shape", "ms then", "ms now", "MiB of workspace now"), rows)


def _buffers(results: Any) -> str:
    rows = [
        (what, f"{line[f'bytes_{key}'] / 1e6:.1f}", f"{line[f'us_{key}'] / 1e3:.3f}")
        for line in results
        if "us_two" in line
        for key, what in (("each", "a buffer for each"), ("two", "two in turn"))
    ]
    return _table(("activations of ten layers", "MB", "ms a pass"), rows)


def _weights(results: Any) -> str:
    rows = [
        (
            f"{line['bytes'] / 1e6:.1f}",
            *(f"{line[key] / 1e3:.3f}" for key in ("us_once", "us_every_pass", "us_copy")),
        )
        for line in results
        if "us_once" in line
    ]
    return _table(("MB", "ms a pass, copied once", "copied before every pass", "the copy alone"), rows)


def _streams(results: Any) -> str:
    keys = ("us_pass", "us_one_stream", "us_overlapped")
    rows = [
        (f"{line['bytes'] / 1e6:.1f}", *(f"{line[key] / 1e3:.3f}" for key in keys))
        for line in results
        if "us_one_stream" in line
    ]
    return _table(
        ("MB copied an image", "ms a pass alone", "with copies, one stream", "with copies, overlapped"), rows
    )


def _table(head: Cells, rows: Sequence[Cells]) -> str:
    if not rows:
        return "It could not be run."
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def _us(line: Mapping[str, Any] | None) -> float | None:
    return line["us"] if line else None


def _ms(line: Mapping[str, Any]) -> str:
    return f"{line['us'] / 1e3:.3f}" if "us" in line else ""


def _mebibytes(line: Mapping[str, Any]) -> str:
    return f"{line['workspace'] / 2**20:.2f}" if "us" in line else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
