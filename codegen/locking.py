"""Which lock a build follows, and whether that lock is of the network, the GPU and the libraries at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.engines import ON_TENSOR_CORES, has_engines
from cnngen.codegen.graph import Graph, Node
from cnngen.codegen.graph_text import step_digest
from cnngen.codegen.lock import PLANS_SUFFIX, SUFFIX, Lock, LockError, load_lock, lock_path, locks_beside
from cnngen.codegen.node_ops import Conv
from cnngen.codegen.passes.plan_streams import branches
from cnngen.codegen.plan import Plan, plan_name
from cnngen.codegen.tiles import tile_text
from cnngen.codegen.titles import titles_of
from cnngen.spec.errors import Problem, listing

NONE = "none"  # what --lock takes for no lock


@dataclass(frozen=True)
class ChosenLock:
    """A lock, and where it came from."""

    lock: Lock
    path: Path

    @property
    def plans(self) -> dict[str, bytes]:
        """The serialized plans beside it: path below `plans/` -> content; none where they were deleted."""
        folder = self.path.with_name(self.path.name.removesuffix(SUFFIX) + PLANS_SUFFIX)
        files = sorted(path for path in folder.rglob("*.json") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def choose_lock(spec: Path, given: str | None, gpus: Sequence[str]) -> ChosenLock | None:
    """The lock that is named; else that of the GPU present; without a GPU the only one that there is.

    gpus: names of those present. Raises LockError where the one that is named cannot be read.
    """
    if given == NONE:
        return None
    if given is not None:
        return ChosenLock(load_lock(Path(given)), Path(given))
    found = [path for gpu in gpus if (path := lock_path(spec, gpu)).is_file()]
    if not gpus and len(every := locks_beside(spec)) == 1:
        found = every
    return ChosenLock(load_lock(found[0]), found[0]) if found else None


def missing_lock(spec: Path, gpus: Sequence[str]) -> Problem:
    """What to tell where a lock is asked for, and none was chosen."""
    every = [path.name for path in locks_beside(spec)]
    there = f"; there is {listing(every)}: name one with --lock" if every else ""
    of = f" for {listing(list(gpus))}" if gpus else ""
    return Problem(f"no lock{of} lies beside it: make one with `cnngen tune {spec}`{there}", where=str(spec))


def lock_problems(
    chosen: ChosenLock, plan: Plan, gpus: Sequence[str], libraries: Mapping[str, str]
) -> list[Problem]:
    """In what a lock is stale. libraries: versions of those that a build found, by the names of a lock's machine."""
    lock, where = chosen.lock, str(chosen.path)
    problems = []
    gpu = lock.machine.get("gpu", "")
    if gpus and gpu not in gpus:
        problems.append(Problem(f"it was made for {gpu}, here is {listing(list(gpus))}", where=where))
    for name, version in libraries.items():
        locked = lock.machine.get(name)
        if locked is not None and not version.startswith(locked):
            problems.append(Problem(f"it was made with {name} {locked}, here is {version}", where=where))
    problems += [Problem(text, where=where) for text in _differences(lock, plan)]
    return problems


def _differences(lock: Lock, plan: Plan) -> list[str]:
    """What of the network the lock does not know, and what it knows that is no more."""
    found = []
    for batch in plan.batches:
        name = plan_name(plan.spec, batch.profile, batch.batch)
        entry = lock.plans.get(name)
        if entry is None:
            found.append(f"it has nothing for {name}")
            continue
        graph, titles = batch.graph, titles_of(batch.graph)
        digests: dict[str, set[str]] = {}
        open_steps = []
        for node in batch.steps:
            title = titles[node.name]
            known = entry.steps.get(title)
            # Of what the lock turned into a kernel of our own the digest is that of the library's step.
            digests[title] = {step_digest(form, graph) for form in (node, _of_library(node))}
            if known is None and has_engines(node, graph):
                open_steps.append(title)
        stale = [title for title, step in entry.steps.items() if step.of not in digests.get(title, set())]
        if stale:
            found.append(
                f"{name}: {listing(stale)} {'is' if len(stale) == 1 else 'are'} not what it was made for"
            )
        if open_steps:
            found.append(f"{name}: it has no entry for {listing(open_steps)}")
        if gone := [titles[node.name] for node in batch.steps if _names_no_tile(node, graph, batch.batch)]:
            verb = "names a tile" if len(gone) == 1 else "name tiles"
            found.append(f"{name}: {listing(gone)} {verb} that cnngen does not have any more")
        known_branches = {branch.name for branch in branches(graph)}
        if alone := [branch for branch in entry.beside if branch not in known_branches]:
            found.append(f"{name}: nothing runs beside {listing(alone)} any more")
    return found


def _names_no_tile(node: Node, graph: Graph, batch: int) -> bool:
    """Whether a kernel of our own has not, or no longer, the tile that a lock names, and so runs with its first one."""
    texts = [tile_text(tile) for tile in tile_options(node, graph, batch)]
    return bool(node.engine and texts) and node.engine not in texts


def _of_library(node: Node) -> Node:
    """The node as it was before a lock gave it to a kernel of our own."""
    if node.form not in ON_TENSOR_CORES:
        return node
    return replace(node, form="cudnn" if isinstance(node.op, Conv) else "cublaslt")


def require_fresh(problems: Sequence[Problem]) -> None:
    """Raises LockError where a lock is stale."""
    if problems:
        raise LockError(problems)
