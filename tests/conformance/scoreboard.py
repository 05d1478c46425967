# ruff: noqa: E402 (a script finds its neighbours by the path that it makes)
"""How far cnngen is: every case of ONNX's, by the reference interpreter or compiled for the CPU.

python tests/conformance/scoreboard.py [--cpu] [PART OF A NAME ...]
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx.backend.test.runner import Runner

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from bundle import build_bundle, bundle_folder
from cases import COUNTS, Array, Case, node_cases, pytorch_cases, sources

from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.codegen.onnx_backend import Maker, Network, Prepared
from cnngen.spec import CnngenError, NetworkSpec, check_weights, resolve


def interpreted(spec: NetworkSpec, weights: Mapping[str, Array], _target: str) -> Network:
    """A network by the interpreter, in the layouts and types that a user gives and gets."""
    resolved = resolve(spec)
    check_weights(resolved, weights)
    graph = lower(spec, weights, 1 if not spec.batched else spec.batch_sizes[0])

    def run(*arrays: Array) -> tuple[Array, ...]:
        ordered = (
            array.transpose(0, 3, 1, 2) if declared.layout == "NHWC" else array
            for array, declared in zip(arrays, spec.inputs.values(), strict=True)
        )
        feeds = {value.name: array for value, array in zip(graph.inputs, ordered, strict=True)}
        results = outputs(graph, feeds, np.float32).values()
        return tuple(
            (y.transpose(0, 2, 3, 1) if output.layout == "NHWC" else y).astype(_numpy_type(output.dtype))
            for y, output in zip(results, resolved.outputs, strict=True)
        )

    return run


def compiled(cases: Iterable[Case]) -> Maker:
    """The networks of the cases from one module for the CPU."""
    bundle = build_bundle(sources(cases), bundle_folder("scoreboard"))
    return lambda spec, weights, _target: bundle.network(spec, weights)


def outcome(case: Case, make: Maker) -> str:
    """ "" where the case passes, else why not."""
    model = Prepared(case.model, "cpu", make)
    for inputs, expected in case.data_sets:
        try:
            given = model.run(inputs)
        except CnngenError as error:
            return f"refused: {_compact(str(error))}"
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
            return f"crash: {type(error).__name__} {str(error)[:80]} at {place}"
        try:
            Runner.assert_similar_outputs(expected, given, case.rtol, case.atol)
        except AssertionError:
            return f"wrong: {case.operator} {_difference(expected, given)}"
        except TypeError as error:
            return f"wrong: {error}"
    return ""


def main(arguments: list[str]) -> None:
    """Prints, for each group, how many pass and why the others do not."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    wanted = [argument for argument in arguments if argument != "--cpu"]
    cases = [
        case
        for case in (*node_cases(), *pytorch_cases())
        if not wanted or any(part in case.name for part in wanted)
    ]
    make = compiled(cases) if "--cpu" in arguments else interpreted
    passed: Counter[str] = Counter()
    failed: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        why = outcome(case, make)
        if why:
            failed[case.group][why].append(case.name.removeprefix("test_"))
        else:
            passed[case.group] += 1
    for group in (*COUNTS, "others"):
        reasons = failed[group]
        sys.stdout.write(f"\n## {group}: {passed[group]} pass, {sum(map(len, reasons.values()))} do not\n")
        for why, names in sorted(reasons.items(), key=lambda item: (item[0][:5], -len(item[1]))):
            shown = " ".join(names[:6]) + (f" ... ({len(names)})" if len(names) > 6 else "")
            sys.stdout.write(f"- {why}: {shown}\n")


def _difference(expected: Sequence[Array], given: Sequence[Array]) -> str:
    for want, got in zip(expected, given, strict=False):
        if (want.shape, want.dtype) != (got.shape, got.dtype):
            return f"{got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
    off = max(np.mean(~np.isclose(a, b, 1e-3, 1e-6, True)) for a, b in zip(expected, given, strict=True))
    return f"{off:.0%} of the elements differ"


def _compact(text: str) -> str:
    """An import error without the names that differ from case to case."""
    first = text.splitlines()[0]
    first = re.sub(r"^[^:]*: (?=node)", "", first)
    return re.sub(r"node ('[^']*'|\d+) ", "", first)[:120]


def _numpy_type(name: str) -> np.dtype[np.generic]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


if __name__ == "__main__":
    main(sys.argv[1:])
