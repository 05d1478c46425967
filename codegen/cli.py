"""The command `cnngen`: reads arguments, prints, and turns errors into one message and an exit code.

Exit codes: 0; 1 for a mistake in what was given, told without a traceback; 2 for a wrong use of the command.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from cnngen import __version__
from cnngen.codegen.architectures import AUTO, choose_target
from cnngen.codegen.build import (
    BuildResult,
    Progress,
    build_project,
    find_toolchain_for,
    install_project,
)
from cnngen.codegen.cli_import import importers
from cnngen.codegen.project import RUNTIME, check_spec, generate_project
from cnngen.codegen.targets import CUDA, Target
from cnngen.codegen.toolchain import Toolchain
from cnngen.codegen.toolchain_cpu import CpuToolchain
from cnngen.spec import CnngenError, Problem, load_spec, load_weights, save_weights

app = typer.Typer(
    name="cnngen",
    help="From a declarative network spec to a C++ project for GPU or CPU, a Python module and a C++ library.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(importers, name="import")

Spec = Annotated[Path, typer.Argument(metavar="SPEC", help="the network's YAML file")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="the folder for generated projects")
]
Dump = Annotated[
    Optional[Path],
    typer.Option("--dump", metavar="DIR", help="write the graph after every pass into this folder"),
]
Arch = Annotated[
    Optional[list[str]],
    typer.Option(
        "--arch",
        metavar="LIST",
        help="compute capabilities such as 80,90; default: the GPUs present, else 75 to 120. "
        "For the CPU: what g++ takes as -march; default: native",
    ),
]
LockFile = Annotated[
    Optional[str],
    typer.Option(
        "--lock",
        metavar="FILE|none",
        help="the lock to follow; default: the one for the GPU present, without a GPU the only one beside the spec",
    ),
]
Locked = Annotated[
    bool, typer.Option("--locked", help="fail where the lock is missing or stale, instead of saying so")
]
On = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="auto|cuda|cpu",
        help="what it runs on; auto: cuda where a GPU is, or is named by --arch, else cpu",
    ),
]


def main() -> None:
    """The program's entry point."""
    arguments = [word for word in sys.argv[1:] if word not in ("-v", "--verbose")]  # wherever it stands
    try:
        app(arguments, prog_name="cnngen")
    except (CnngenError, OSError) as error:
        if len(arguments) < len(sys.argv) - 1:
            traceback.print_exc()
        lines = [f"error: {line}" if k == 0 else line for k, line in enumerate(str(error).splitlines())]
        print("\n".join(lines), file=sys.stderr)
        sys.exit(1)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"cnngen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="show tracebacks of errors")] = False,
) -> None:
    pass


@app.command()
def generate(
    spec: Spec,
    output: Output = Path("generated"),
    target: On = AUTO,
    dump: Dump = None,
    lock: LockFile = None,
    locked: Locked = False,
    depfile: Annotated[
        Optional[Path],
        typer.Option("--depfile", metavar="FILE", help="write what the project depends on, as make reads it"),
    ] = None,
) -> None:
    """Write the C++ project of a spec, weights included, without compiling it."""
    chosen = choose_target(target)
    project = generate_project(
        spec, output, target=chosen, dump=dump, lock=lock, locked=locked, warn=_warn_of_lock
    )
    _tell_types(chosen, spec)
    if depfile is not None:
        _write_depfile(depfile, project, spec)
    print(project)


@app.command()
def build(
    spec: Spec,
    output: Output = Path("generated"),
    target: On = AUTO,
    arch: Arch = None,
    dump: Dump = None,
    lock: LockFile = None,
    locked: Locked = False,
    install: Annotated[bool, typer.Option("--install", help="also install it into this environment")] = False,
    werror: Annotated[
        bool, typer.Option("--werror", help="treat every compiler warning as an error")
    ] = False,
) -> None:
    """Generate a spec's project and compile it in place: the folder is then an importable package."""
    console = Console(stderr=True)
    chosen = choose_target(target, arch)
    toolchain = find_toolchain_for(chosen)
    with _progress(console) as progress:
        progress("generate", 0, 1)
        project = generate_project(
            spec, output, target=chosen, dump=dump, lock=lock, locked=locked, warn=_warn_of_lock
        )
        result = build_project(
            project, archs=arch, toolchain=toolchain, warnings_are_errors=werror, progress=progress
        )
    _report(console, result)
    _tell_types(chosen, spec)
    if install:
        print(install_project(result))
    else:
        print(result.module)


@app.command()
def tune(
    spec: Spec,
    budget: Annotated[
        Optional[str],
        typer.Option(
            "--budget", metavar="TIME", help="stop looking for better after 60s, 5m, 1h; default: no limit"
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="leave an earlier lock and an interrupted run out of account")
    ] = False,
    without: Annotated[
        Optional[list[str]],
        typer.Option(
            "--without",
            metavar="ENGINE",
            help="leave engines out where others can: cublaslt, 'cudnn 39', ...",
        ),
    ] = None,
    device: Annotated[int, typer.Option("--device", metavar="N", help="the number of the GPU")] = 0,
) -> None:
    """Measure what runs a spec fastest on the GPU at hand, and write it to a lock beside the spec."""
    from cnngen.codegen.generate import load_network
    from cnngen.codegen.tuning.tune import MORE_THAN_CHANCE
    from cnngen.codegen.tuning.tune import tune as tune_network

    seconds = _seconds(budget)
    network, weights = load_network(spec)
    console = Console(stderr=True)
    with _progress(console, is_long=True) as progress:
        tuned = tune_network(
            spec,
            network,
            weights,
            budget=seconds,
            fresh=fresh,
            without=without or (),
            device=device,
            told=progress,
        )
    for text in tuned.rejected:
        console.print(f"rejected: {escape(text)}", soft_wrap=True)
    for name, plan in tuned.lock.plans.items():
        console.print(
            f"{name}: {plan.us:.1f} us a pass, {plan.first_us:.1f} by every first choice; "
            f"outputs differ by {tuned.differences[name].engines:.1e}",
            soft_wrap=True,
        )
        if tuned.differences[name].order > MORE_THAN_CHANCE:
            console.print(
                f"[bold]The steps of {name} give something else together than one by one,[/] by "
                f"{tuned.differences[name].order:.1e}: some begin before what they read is there, or do not always "
                "give the same. Build with --lock none, and report it",
                soft_wrap=True,
            )
        if plan.is_slower:
            console.print(
                f"[bold]{name} is slower than by every first choice:[/] what its steps take alone does not say what "
                "they take together; build with --lock none until another --fresh run does better",
                soft_wrap=True,
            )
    spent = ", ".join(f"{seconds:.0f} s {stage}" for stage, seconds in tuned.seconds.items())
    console.print(f"spent: {spent}", soft_wrap=True)
    print(tuned.path)


@app.command()
def explain(
    spec: Spec,
    lock: LockFile = None,
) -> None:
    """Show what each rewrite and each step of a network does on a GPU, why, and what the alternatives took."""
    from cnngen.codegen.explain import explain_tables

    console = _wide(Console())
    for title, table in explain_tables(spec, lock, _warn_of_lock):
        console.print(title, style="bold")
        console.print(table)


@app.command()
def check(
    spec: Spec,
    gpu: Annotated[
        Optional[str],
        typer.Option(
            "--gpu", metavar="LIST", help="prove that every cuDNN plan exists on h100,a100,t4,b200,..."
        ),
    ] = None,
    output: Output = Path("generated"),
) -> None:
    """Check a spec and its weights; with --gpu, that the built project will run there. Needs no GPU."""
    network = check_spec(spec)
    if gpu is None:
        profiles = f", {network.profile_count} profiles" if network.profiles else ""
        print(f"{spec}: {len(network.layers)} layers, batch sizes {list(network.batch_sizes)}{profiles}: ok")
        return
    from cnngen.codegen.plan_check import check_plans

    for report in check_plans(output / network.name, gpu.split(",")):
        print(report)


@app.command("toolchain")
def show_toolchain(target: On = AUTO) -> None:
    """Show the compiler and the libraries that a build would use, and where each came from."""
    _wide(Console()).print(_toolchain_table(find_toolchain_for(choose_target(target))))


@app.command("export-manifest")
def export_manifest(
    spec: Spec,
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", metavar="FILE", help="default: beside the weights")
    ] = None,
) -> None:
    """Write a spec's weights as a text manifest (name,type,offset,size,shape) beside one binary file."""
    network = load_spec(spec)
    if network.weights is None:
        raise CnngenError(f"{spec}: the spec names no weights")
    weights = spec.parent / network.weights
    target = output or weights.with_suffix(".manifest")
    save_weights(target, load_weights(weights))
    print(target)


@app.command()
def schema() -> None:
    """Print the JSON schema of a spec, for editors."""
    from cnngen.spec.schema import json_schema

    print(json_schema(), end="")


@app.command("cmake-dir")
def cmake_dir() -> None:
    """Print the folder for CMake: -Dcnngen_DIR=$(cnngen cmake-dir)."""
    print(RUNTIME / "cmake")


def _warn_of_lock(problem: Problem) -> None:
    """A stale lock is said, in one line each."""
    print(f"stale lock: {problem}", file=sys.stderr)


def _seconds(text: str | None) -> float:
    """`60s`, `5m`, `1h` or a number of seconds."""
    if text is None:
        return math.inf
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise typer.BadParameter(f"--budget: {text!r} is no time; expected such as 60s, 5m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _write_depfile(path: Path, project: Path, spec: Path) -> None:
    network = load_spec(spec)
    inputs = [spec.resolve(), *([spec.resolve().parent / network.weights] if network.weights else [])]
    inputs += sorted(Path(__file__).resolve().parent.rglob("*.py")) + sorted(
        (RUNTIME / "templates").rglob("*.j2")
    )
    names = [str(name).replace(" ", "\\ ") for name in (project.resolve() / "CMakeLists.txt", *inputs)]
    path.write_text(f"{names[0]}: " + " \\\n  ".join(names[1:]) + "\n")


@contextlib.contextmanager
def _progress(console: Console, *, is_long: bool = False) -> Iterator[Progress]:
    """A bar on a terminal; elsewhere nothing, or of what `is_long` a line a stage."""
    if is_long and not console.is_terminal:
        yield _stages(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("generate", total=None)

        def advance(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total if done else None)

        yield advance


def _stages(console: Console) -> Progress:
    """Prints each stage as it begins, and when."""
    started, last = time.monotonic(), ""

    def advance(stage: str, _done: int, _total: int) -> None:
        nonlocal last
        name = stage.partition(":")[0]
        if name != last:
            console.print(f"{time.monotonic() - started:4.0f} s: {name}", soft_wrap=True, highlight=False)
        last = name

    return advance


def _report(console: Console, result: BuildResult) -> None:
    _wide(console).print(_toolchain_table(result.toolchain))
    how = "nothing to do" if result.cached else f"compiled in {result.seconds:.1f} s"
    sign = "sm_" if result.target is CUDA else "the CPU: "
    architectures = ", ".join(f"{sign}{name}" for name in result.architectures)
    console.print(
        f"{result.project.name}: {how}, for {architectures}; log: {escape(str(result.log))}", soft_wrap=True
    )


def _toolchain_table(toolchain: Toolchain | CpuToolchain) -> Table:
    table = Table("", "version", "from", "at", box=None, header_style="bold", pad_edge=False)
    for name, part in toolchain.parts().items():
        table.add_row(name, part.version, escape(part.origin), escape(str(part.path)))
    return table


def _tell_types(target: Target, path: Path) -> None:
    """Says so where the target computes in another type than the spec names."""
    spec = load_spec(path)
    wanted = [spec.precision, *(layer.precision for layer in spec.layers if layer.precision is not None)]
    for name in sorted({precision.storage for precision in wanted} & set(target.storage)):
        print(
            f"{name} is computed and stored as {target.storage[name]} on the {target.name.upper()}",
            file=sys.stderr,
        )


def _wide(console: Console) -> Console:
    """Outside a terminal, paths are not to be broken."""
    if not console.is_terminal:
        console.width = 300
    return console
