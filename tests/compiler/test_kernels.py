"""The CUDA kernels of include/cnngen/cuda/kernels: compiled for a GPU by nvcc, and run on the CPU by emulation.

The shapes are template arguments, so each run writes a C++ program with random ones (the same every time)
and compiles it with the headers as they are.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from cnngen.codegen.max_pools_tiles import Pools, max_pools_tiles

from .gemm_cases import GEMMS
from .kernel_shapes import CASES, SIZE, aggregate, large_window, vector, window, window_shape, window_tile
from .objects import precompiled

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INCLUDE = ROOT / "include"
POOLS = ("max", "avg", "avg_include_pad", "sum", "arg_max")
REDUCTIONS = ("mean", "sum", "max", "min", "prod", "sum_squares", "variance")
# Designated initialisers stand in the order of the declaration.
CONV_FIELDS = "c h w k oh ow r s groups stride_h stride_w dilation_h dilation_w pad_top pad_left".split()  # noqa: SIM905
STRICT = ("-std=c++20", "-O3", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror")


def cuda_roots() -> Iterator[Path]:
    """Folders with bin/nvcc and include/, the wheels of the running Python first."""
    try:
        spec = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        spec = None
    if spec is not None and spec.submodule_search_locations:
        yield Path(next(iter(spec.submodule_search_locations)))
    if "CUDA_HOME" in os.environ:
        yield Path(os.environ["CUDA_HOME"])
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).resolve().parent.parent
    yield Path("/usr/local/cuda")


def cuda_root() -> Path:
    for root in cuda_roots():
        if (root / "bin" / "nvcc").exists() and (root / "include" / "cuda_fp16.h").exists():
            return root
    pytest.skip("no CUDA toolkit: install cuda-toolkit[nvcc,crt,nvvm,cccl,cudart]==13.0.*")


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{output[-8000:]}"
    return output


# --- random cases: each is one call of a check in kernel_checks.hpp ---


def depthwise(rng: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(CASES):
        x, w, y = (rng.choice(tuple(SIZE)) for _ in range(3))
        c = rng.choice((1, 2, 3, 6, 8, 12, 20, 24, 32))
        arguments = f"{x}, {w}, {y}, {window_tile(rng, x, c)}, {window_shape(c, window(rng))}"
        yield f"depthwise<{arguments}>", f"{rng.randint(1, 3)}"
    for taps in (5, 7, 9):
        for tw, th in ((1, 1), (2, 1), (2, 2)):
            shape = large_window(16, 14, taps, taps // 2)
            yield f"depthwise<half, half, half, Tile{{.v = 8, .tw = {tw}, .th = {th}}}, {shape}>", "2"
    for batch in (1, 200):
        shape = large_window(24, 14, 3, 1)
        yield f"depthwise<half, half, half, cnngen::window_tile<half>({shape}, {batch}), {shape}>", "2"


def diagonal_depthwise(rng: random.Random) -> Iterator[tuple[str, str]]:
    def case(x: str, shape: str) -> tuple[str, str]:
        tile = aggregate(
            "DiagonalTile", th=rng.choice((1, 2, 3, 4)), wide=rng.choice((0, 1)), steps=rng.choice((1, 2, 3))
        )
        call = f"diagonal_depthwise<{x}, {rng.choice(tuple(SIZE))}, {tile}, {shape}>"
        return call, f"{rng.randint(1, 3)}"

    for _ in range(CASES):
        c = rng.choice((8, 16, 24, 32, 40, 64))
        yield case(rng.choice(("half", "bfloat16")), window_shape(c, window(rng, strides=(1,))))
    for taps in (3, 5, 7):
        yield case("half", large_window(40, 19, taps, taps // 2))


def grouped_conv(rng: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(CASES):
        x, w, y = (rng.choice(tuple(SIZE)) for _ in range(3))
        groups = rng.choice((1, 1, 2, 3, 4))
        group_c, group_k = rng.choice((1, 2, 3, 4, 8, 12)), rng.choice((1, 2, 3, 4, 8, 12, 16))
        fields = {"c": groups * group_c, "k": groups * group_k, "groups": groups, **window(rng)}
        shape = aggregate("ConvShape", **{name: fields[name] for name in CONV_FIELDS})
        v = min(vector(rng, x, group_k), vector(rng, y, group_k))
        tile = aggregate("Tile", v=v, tw=rng.choice((1, 2, 3, 4, 8)), th=1, threads=rng.choice((32, 96, 128)))
        if rng.random() < 0.2:
            tile = f"cnngen::conv_tile<{x}>({shape}, 2)"
        yield f"grouped_conv<{x}, {w}, {y}, {tile}, {shape}>", f"{rng.randint(1, 3)}"


def pooling(rng: random.Random) -> Iterator[tuple[str, str]]:
    for i in range(2 * CASES):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        c = rng.choice((1, 2, 3, 6, 8, 12, 24))
        pool = POOLS[i % len(POOLS)]
        arguments = f"{x}, {y}, {window_tile(rng, x, c)}, {window_shape(c, window(rng))}, Pool::{pool}"
        yield f"pooling<{arguments}>", f"{rng.randint(1, 3)}"
    for pool in POOLS:
        shape = large_window(8, 21, 13, 6)
        yield f"pooling<half, half, Tile{{.v = 8}}, {shape}, Pool::{pool}>", "1"
        shape = large_window(8, 12, 3, 1)
        yield f"pooling<half, half, Tile{{.v = 4, .tw = 2, .th = 2}}, {shape}, Pool::{pool}>", "2, true"


def reduce(rng: random.Random) -> Iterator[tuple[str, str]]:
    for i in range(CASES):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        c = rng.choice((1, 2, 3, 8, 24, 40, 64, 144))
        shape = aggregate("ReduceShape", c=c, count=rng.choice((1, rng.randint(1, 15), rng.randint(1, 225))))
        v = vector(rng, x, c)
        groups = rng.choice((1, 2, 4, 8, 16, 32))
        pixels = rng.choice([p for p in (1, 2, 4, 8, 16, 32, 64, 128) if 32 <= groups * p <= 1024 and p >= v])
        tile = aggregate("ReduceTile", v=v, groups=groups, pixels=pixels)
        if rng.random() < 0.3:
            tile = f"cnngen::reduce_tile<{x}>({shape}, {rng.choice((1, 64))})"
        op = REDUCTIONS[i % len(REDUCTIONS)]
        yield f"reduce<{x}, {y}, {tile}, {shape}, Reduction::{op}>", f"{rng.randint(1, 3)}"
    for i in range(CASES):
        op = REDUCTIONS[i % len(REDUCTIONS)]
        yield f"reduce_rows<{rows(rng)}, Reduction::{op}>", f"{rng.randint(1, 9)}"


def rows(rng: random.Random) -> str:
    """Template arguments of a kernel over rows: types, tile, shape."""
    x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
    c = rng.choice((1, 2, 5, 10, 21, 64, 100, 1000, 1001, 3000))
    shape = f"RowShape{{{c}}}"
    threads = rng.choice((32, 128, 256))
    lanes = rng.choice((1, 2, 4, 8, 16, 32, threads) if c < 500 else (32, threads))
    tile = aggregate("RowTile", v=vector(rng, x, c), lanes=lanes, threads=threads)
    if rng.random() < 0.4:
        tile = f"cnngen::row_tile<{x}>({shape})"
    return f"{x}, {y}, {tile}, {shape}"


def arg_reduce(rng: random.Random) -> Iterator[tuple[str, str]]:
    for i in range(CASES):
        which = f"Extreme::{('max', 'min')[i % 2]}, {('true', 'false')[i // 2 % 2]}"
        yield f"arg_rows<{rows(rng)}, {which}>", f"{rng.randint(1, 9)}"
        inner = rng.choice((1, 3, 4, 24, 49, 64))
        x, y = rng.choice(tuple(SIZE)), rng.choice(("float", "int"))
        shape = aggregate("AxisShape", axis=rng.choice((1, 2, 7, 33)), inner=inner)
        yield f"arg_columns<{x}, {y}, {vector(rng, x, inner)}, {shape}, {which}>", f"{rng.randint(1, 5)}"


def transpose(rng: random.Random) -> Iterator[tuple[str, str]]:
    for i in range(2 * CASES):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        v, w = rng.choice((1, 2, 4, 16 // SIZE[y])), rng.choice((1, 2, 4, 16 // SIZE[x]))
        rows, columns = v * rng.randint(1, 20), w * rng.randint(1, 20)
        shape = aggregate(
            "TransposeShape",
            rows=rows,
            columns=columns,
            row_pitch=columns + w * rng.randint(0, 2),
            column_pitch=rows + v * rng.randint(0, 2),
            readable=rows if i % 3 else rng.randint(1, rows),
        )
        threads = rng.choice((32, 64, 128))
        across = rng.choice((1, 2, 4, 8, 16, 32))
        tile = aggregate("TransposeTile", v=v, w=w, across=across, threads=threads)
        yield f"transpose<{x}, {y}, {tile}, {shape}>", f"{rng.randint(1, 3)}"


def softmax(rng: random.Random) -> Iterator[tuple[str, str]]:
    for i in range(CASES):
        yield f"softmax<{rows(rng)}, {('true', 'false')[i % 2]}>", f"{rng.randint(1, 9)}"
    for i in range(CASES):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        c, lanes = rng.choice((1, 2, 6, 19, 21, 33)), rng.choice((1, 2, 4, 8))
        tile = aggregate("RowTile", v=vector(rng, x, c), lanes=lanes, threads=32 * lanes, staged=1)
        log = ("true", "false")[i % 2]
        yield f"softmax<{x}, {y}, {tile}, RowShape{{{c}}}, {log}>", f"{rng.randint(1, 99)}"
    for i in range(CASES // 2):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        inner = rng.choice((1, 3, 4, 24, 49, 64))
        shape = aggregate("AxisShape", axis=rng.choice((1, 2, 7, 33)), inner=inner)
        log = ("true", "false")[i % 2]
        yield f"softmax_strided<{x}, {y}, {vector(rng, x, inner)}, {shape}, {log}>", f"{rng.randint(1, 5)}"


def squeeze_excite(rng: random.Random) -> Iterator[tuple[str, str]]:
    for i in range(2 * CASES):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        c = rng.choice((1, 3, 4, 8, 12, 24, 40, 72, 96, 144, 480))
        hidden = rng.choice((1, 2, 3, 4, 6, 8, 10, 20, 33))
        width, height = rng.choice(
            ((1, 1), (1, 2), (5, 1), (rng.randint(1, 12), rng.randint(1, 12)), (28, 28))
        )
        shape = aggregate("SqueezeExciteShape", c=c, hidden=hidden, pixels=width * height, width=width)
        cluster = (1, 2, 4, 8)[i % 4]
        slices = rng.choice([s for s in (1, 2, 4, 8) if s <= cluster])
        v = rng.choice([v for v in (1, 2, 4, 8) if c % v == 0 and v * SIZE[x] <= 16][-2:])
        threads = rng.choice((32, 64, 256))
        keeps = i % 3 % 2
        tile = aggregate(
            "SqueezeExciteTile", v=v, threads=threads, cluster=cluster, slices=slices, keeps=keeps
        )
        function = rng.choice(("squeeze_excite", "squeeze_excite", "squeeze_excite_scale"))
        yield f"{function}<{x}, {y}, {tile}, {shape}>", f"{rng.randint(1, 3)}"
    # More vectors than threads, in turns; matrices that are too large to be copied.
    for c, hidden, tile in (
        (600, 5, "{.v = 4, .threads = 64}"),
        (600, 5, "{.v = 4, .threads = 64, .keeps = 1}"),
        (96, 400, "{.v = 8, .threads = 64, .cluster = 2}"),
    ):
        shape = aggregate("SqueezeExciteShape", c=c, hidden=hidden, pixels=9)
        for function in ("squeeze_excite", "squeeze_excite_scale"):
            yield f"{function}<half, half, SqueezeExciteTile{tile}, {shape}>", "2"


def max_pools(rng: random.Random) -> Iterator[tuple[str, str]]:
    """One pool with what follows it; chains are in generated networks."""
    for i in range(CASES):
        x, y = rng.choice(tuple(SIZE)), rng.choice(tuple(SIZE))
        c, h, w = rng.choice((1, 2, 6, 8, 24)), rng.randint(1, 30), rng.randint(1, 30)
        kernel, batch = rng.choice((3, 5, 7, 9)), rng.randint(1, 2)
        pools = Pools(batch, c, (h, w), kernel, 1, SIZE[x])
        tile = rng.choice(max_pools_tiles(pools))
        shape = aggregate("MaxPoolsShape", c=c, h=h, w=w, kernel=kernel)
        grid, shared = tile.blocks(batch, c, (h, w)), pools.shared(tile)
        call = f"max_pools<{x}, {y}, {aggregate('MaxPoolsTile', **vars(tile))}, {shape}>"
        yield call, f"{batch}, {grid}, {shared}, {('false', 'true')[i % 2]}"


def comparison(_rng: random.Random) -> Iterator[tuple[str, str]]:
    for x, rows in (
        ("half", "float16, 5, 8, 40"),
        ("bfloat16", "bfloat16, 9, 9, 1"),
        ("float", "float32, 3, 4, 7"),
        ("int", "int32, 1, 2, 9"),
        ("std::int64_t", "int64, 6, 6, 3"),
        ("std::uint8_t", "uint8, 4, 9, 5"),
    ):
        yield f"comparison<{x}>", f"cnngen::ReferenceTensor::{rows}"


def program(calls: list[tuple[str, str]], header: str) -> str:
    lines = [f'    {check}("{check}", {batch});' for check, batch in calls]
    return "\n".join([f'#include "{header}"', "using namespace checks;", "int main() {", *lines, "}", ""])


def compile_and_run(source: str, folder: Path) -> list[str]:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    (folder / "checks.cpp").write_text(source)
    # -O0, since compiling takes longer than the run, and what is compared does not depend on it.
    # The kernels read 16 bytes of halves as one word, which nvcc allows; the sanitizer finds misaligned ones. It traps,
    # which is less to compile than a message for each place.
    flags = ["-std=c++20", "-O0", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    flags += ["-fno-strict-aliasing", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    flags += [f"-I{HERE}", f"-I{INCLUDE}", f"-I{cuda_root() / 'include'}"]
    common = precompiled(HERE / "kernel_checks.hpp", *flags)
    run("g++", *flags, *common, folder / "checks.cpp", "-o", folder / "checks")
    return run(folder / "checks").splitlines()


KERNELS: tuple[Callable[[random.Random], Iterator[tuple[str, str]]], ...] = (
    depthwise,
    diagonal_depthwise,
    grouped_conv,
    *GEMMS,
    pooling,
    reduce,
    arg_reduce,
    transpose,
    softmax,
    squeeze_excite,
    max_pools,
    comparison,
)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_emulated_kernel_computes_its_definition(
    kernel: Callable[[random.Random], Iterator[tuple[str, str]]], tmp_path: Path
) -> None:
    calls = list(kernel(random.Random(f"cnngen {kernel.__name__}")))  # noqa: S311
    headers = dict.fromkeys(GEMMS, "gemm_checks.hpp") | {
        squeeze_excite: "squeeze_checks.hpp",
        max_pools: "max_pools_checks.hpp",
        transpose: "transpose_checks.hpp",
        comparison: "reference_checks.hpp",
    }
    header = headers.get(kernel, "kernel_checks.hpp")
    assert len(compile_and_run(program(calls, header), tmp_path)) == len(calls)


def test_functions_are_accurate(tmp_path: Path) -> None:
    source = '#include "function_checks.hpp"\nint main() { checks::functions(); }\n'
    assert len(compile_and_run(source, tmp_path)) == 51


def ptxas_report(output: str) -> dict[str, tuple[int, int]]:
    """Kernel -> (registers, bytes of stack frame and spills), from nvcc -Xptxas -v."""
    found = re.findall(
        r"Function properties for (\w+)\s+(\d+) bytes stack frame, "
        r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
        output,
        re.DOTALL,
    )
    return {name: (int(regs), int(stack) + int(out) + int(back)) for name, stack, out, back, regs in found}


@pytest.fixture(scope="module")
def built_kernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[str, str]]:
    """Architecture -> what nvcc says of kernels.cu, and the PTX; each is compiled once."""

    @cache
    def build(architecture: str) -> tuple[str, str]:
        folder = tmp_path_factory.mktemp(architecture)
        target = ("-c", HERE / "kernels.cu", "-o", folder / "kernels.o", "--keep", "--keep-dir", folder)
        nvcc = cuda_root() / "bin" / "nvcc"
        output = run(nvcc, *STRICT, f"-arch={architecture}", "-Xptxas", "-v", f"-I{INCLUDE}", *target)
        return output, (folder / "kernels.ptx").read_text()

    return build


@pytest.mark.parametrize("architecture", ["sm_75", "sm_90"])
def test_kernels_compile_without_spills(
    architecture: str, built_kernels: Callable[[str], tuple[str, str]]
) -> None:
    report = ptxas_report(built_kernels(architecture)[0])
    assert len(report) == len(re.findall(r"^[A-Z_]+\(\w+,", (HERE / "kernels.cu").read_text(), re.MULTILINE))
    spilled = {name: numbers for name, numbers in report.items() if numbers[1] > 0}
    assert not spilled, f"stack frames or spills: {spilled}"
    # 128 registers leave 16 warps to a multiprocessor, enough to keep its memory busy.
    greedy = {name: numbers for name, numbers in report.items() if numbers[0] > 128}
    assert not greedy, f"more than 128 registers: {greedy}"


def test_accesses_are_16_bytes_wide(built_kernels: Callable[[str], tuple[str, str]]) -> None:
    """The compiler splits some vectors into 4-byte accesses, which costs the bandwidth."""
    kinds = "dw|max|mean|avg|softmax|log_softmax|reduce_rows"
    entries = re.split(rf"\.entry \w*?(?<=\d)(?=(?:{kinds})_)", built_kernels("sm_90")[1])
    wide = ("dw_32x112", "dw_96x112_s2", "dw_float", "max_3x3_s2", "avg_3x3", "mean_2048x7", "softmax_1000")
    checked = 0
    for entry in entries[1:]:
        name = re.match(r"(\w+?)(?:iPK|\()", entry)
        if name is None or name[1] not in wide:
            continue
        accesses = set(re.findall(r"(?:ld|st)\.global[.\w]*", entry[: entry.index("\n}")]))
        assert accesses <= {"ld.global.nc.v4.u32", "st.global.wb.v4.u32"}, (name[1], accesses)
        checked += 1
    assert checked == len(wide)
