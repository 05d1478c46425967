"""What compare.json holds as a table in Markdown and as a bar chart (needs matplotlib)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers import PEERS

TITLES = {name: peer.title for name, peer in PEERS.items()}
COLOURS = {
    "cnngen": "#1b7837",
    "eager": "#bdbdbd",
    "compile": "#d95f0e",
    "compile_cudnn": "#fdae6b",
    "ort": "#4a90c2",
    "trt": "#5e3c99",
}
HEAD = (
    "network:batch",
    "",
    "ms a pass (quartiles)",
    "to cnngen",
    "floor reached",
    "error",
    "build (s)",
    "start-up (ms)",
    "memory (MB)",
)
WRONG = 0.05  # an error that float16 does not explain
NOTES = """\
A pass is one CUDA graph launch; the peers ran in turn, in processes of their own. The floor by layers is the sum over
the steps of cnngen's plan of the larger of bytes and FLOP at the rates above; as one, only inputs, outputs and weights
move. Floor reached: the floor by layers over the time. Error: ||y - reference|| / ||reference|| to PyTorch in float32,
or to the outputs that are stored with a model; over 0.05 it computes something else. Build: what is made once and kept;
(kept): it was there from an earlier run. Start-up: until a pass can be enqueued, without the CUDA context and Python's
imports; cnngen's two are those of fresh processes, with no plan kept and with plans kept. Memory: what getting ready
took of the GPU, code included."""


def table(results: dict[str, Any]) -> str:
    """All cases in one table, with its sources above and what its columns mean below."""
    lines = [
        "`python bench/compare.py`: "
        + ", ".join(f"{key} {value}" for key, value in results["environment"].items())
        + f".{_rates(results)}",
        "",
        f"| {' | '.join(HEAD)} |",
        "|---" * len(HEAD) + "|",
    ]
    nowhere = _absent_everywhere(results)
    for label, case in results["cases"].items():
        rows = list(_rows(case, nowhere))
        for first, cells in zip([label, *[""] * len(rows)], rows, strict=False):
            filled = [first, *cells, *[""] * (len(HEAD) - 1 - len(cells))]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in filled)} |")
    lines += ["", NOTES]
    if nowhere:
        lines += ["", "Left out:", *(f"- {TITLES[name]}: {why}" for name, why in nowhere.items())]
    return "\n".join(lines) + "\n"


def _rates(results: dict[str, Any]) -> str:
    found = [case["rates"] for case in results["cases"].values() if "rates" in case]
    if not found:
        return ""
    copy = _range([rates["bytes"] / 1e12 for rates in found], ".2f")
    return f" Measured: copy {copy} TB/s, float16 product {_range([r['flop'] / 1e12 for r in found], '.0f')} TFLOP/s."


def _range(values: list[float], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def _absent_everywhere(results: dict[str, Any]) -> dict[str, str]:
    """The peers that no case has, and why: these need no rows."""
    found = {}
    for name in TITLES:
        reasons = {
            case["peers"][name].get("absent") for case in results["cases"].values() if name in case["peers"]
        }
        if len(reasons) == 1 and (why := reasons.pop()):
            found[name] = why
    return found


def _rows(case: dict[str, Any], left_out: dict[str, str]) -> Iterator[list[str]]:
    if "failed" in case:
        yield ["", f"failed: {case['failed']}"]
        return
    floor = case["floor"]
    own = case["peers"].get("cnngen", {}).get("ms", {}).get("median")
    for name, row in case["peers"].items():
        if name not in left_out:
            yield [TITLES[name], *_cells(row, own, floor["layers_ms"])]
    by_layers = f"floor of {floor['steps']} steps: {floor['layers_mb']:.0f} MB, {floor['gflop']:.2f} GFLOP"
    for what, ms in (
        (by_layers, floor["layers_ms"]),
        (f"floor as one: {floor['network_mb']:.0f} MB", floor["network_ms"]),
    ):
        yield [what, f"{ms:.3f}", f"{ms / own:.2f}" if own else ""]


def _cells(row: dict[str, Any], own: float | None, floor_ms: float) -> list[str]:
    if "ms" not in row:
        return [row.get("absent") or f"failed: {row['failed']}"]
    ms = row["ms"]
    remark = f", {row['remark']}" if "remark" in row else ""
    start = row["start_ms"]
    return [
        f"{ms['median']:.3f} ({ms['low']:.3f} to {ms['high']:.3f}){remark}",
        f"{ms['median'] / own:.2f}" if own else "",
        f"{floor_ms / ms['median']:.0%}",
        f"{row['error']:.1e}{' WRONG' if row['error'] > WRONG else ''}",
        _build(row),
        f"{start:.0f}" if isinstance(start, float) else ", ".join(f"{ms:.0f}" for ms in start.values()),
        f"{row['memory_mb']:.0f}",
    ]


def _build(row: dict[str, Any]) -> str:
    if row["build_s"] < 0.05:
        return ""
    tuned = f" + {row['tune_s']:.0f} tuning" if "tune_s" in row else ""
    return f"{row['build_s']:.1f}{tuned}{' (kept)' if row['kept'] else ''}"


# --- the chart -----------------------------------------------------------------------------------------------------


def chart(results: dict[str, Any], path: Path) -> None:
    """Time of a pass over cnngen's, grouped by network and batch size; the floor as a line across each group."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cases = {
        label: case for label, case in results["cases"].items() if "ms" in case["peers"].get("cnngen", {})
    }
    shown = [name for name in TITLES if any("ms" in case["peers"].get(name, {}) for case in cases.values())]
    figure, axes = plt.subplots(figsize=(max(7.0, 1.2 + 1.5 * len(cases)), 5.2), layout="constrained")
    width = 0.84 / max(len(shown), 1)
    highest = 1.0
    for group, case in enumerate(cases.values()):
        own = case["peers"]["cnngen"]["ms"]["median"]
        floor = case["floor"]["layers_ms"] / own
        left = group - 0.42
        for place, name in enumerate(shown):
            row = case["peers"].get(name, {})
            x = left + width * (place + 0.5)
            if "ms" not in row:
                how = {"ha": "center", "va": "bottom", "rotation": 90, "fontsize": 8, "color": "#777777"}
                axes.text(x, floor + 0.04, _short(row), **how)
                continue
            ratio = row["ms"]["median"] / own
            highest = max(highest, ratio)
            axes.bar(x, ratio, width * 0.94, color=COLOURS[name])
            axes.text(x, ratio, f"{ratio:.2f}", ha="center", va="bottom", fontsize=8)
        axes.hlines(floor, left, left + 0.84, color="black", linewidth=1.6)
    axes.axhline(1.0, color=COLOURS["cnngen"], linewidth=0.8, zorder=0)
    axes.set_xlim(-0.6, len(cases) - 0.4)
    axes.set_ylim(0, highest * 1.12)
    axes.set_ylabel("time of a pass, cnngen = 1 (lower is faster)")
    axes.set_xticks(
        range(len(cases)),
        [f"{label}\n1 = {case['peers']['cnngen']['ms']['median']:.3f} ms" for label, case in cases.items()],
    )
    axes.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in shown]
    handles.append(plt.Line2D([], [], color="black", linewidth=1.6))
    labels = [*(TITLES[name] for name in shown), "floor, by layers"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    environment = dict(results["environment"])
    figure.suptitle(f"float16 inference on one {environment.pop('gpu', 'GPU')}", fontsize=13)
    axes.set_title(
        ", ".join(f"{key} {value}" for key, value in environment.items()), fontsize=8, color="#555555"
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _short(row: dict[str, Any]) -> str:
    """Why there is no bar, in the room of one."""
    if "failed" not in row:
        return "not there"
    return "not waited for" if row["failed"].startswith("not waited for") else "failed"
