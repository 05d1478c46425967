"""What was chosen for a network on a GPU, and why, as tables: by the lock's measurements, or without one by cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rich.table import Table

from cnngen.codegen.architectures import gpu_names
from cnngen.codegen.generate import plan_spec
from cnngen.codegen.graph_text import step_text
from cnngen.codegen.lock import PlanEntry
from cnngen.codegen.locking import choose_lock, lock_problems
from cnngen.codegen.plan import BatchPlan, plan_name
from cnngen.codegen.titles import titles_of
from cnngen.spec.errors import Problem


def explain_tables(
    spec: Path, lock: str | None, warn: Callable[[Problem], None]
) -> Iterator[tuple[str, Table]]:
    """A title and a table for the rewrites' choices and for the steps of each plan. Raises as `plan_spec` does."""
    gpus = gpu_names()
    chosen = choose_lock(spec, lock, gpus)
    plan = plan_spec(spec, lock=None if chosen is None else chosen.lock)
    if chosen is not None:
        for problem in lock_problems(chosen, plan, gpus, {}):
            warn(problem)
    for batch in plan.batches:
        name = plan_name(plan.spec, batch.profile, batch.batch)
        entry = None if chosen is None else chosen.lock.plans.get(name)
        if batch.graph.sites:
            yield f"{name}: rewrites that had a choice{'' if entry else ', by cost'}", _sites(batch, entry)
        took = f": {entry.us:.1f} us a pass, {entry.first_us:.1f} by every first choice" if entry else ""
        yield f"{name}{took}", _steps(batch, entry)


def _sites(batch: BatchPlan, entry: PlanEntry | None) -> Table:
    table = Table("rewrite", "layer", "chosen", "options", box=None, header_style="bold", pad_edge=False)
    for site in batch.graph.sites:
        form = entry.forms.get(" ".join(site.key)) if entry else None
        options = [
            f"{option} {form.us[option]:.1f} us" if form and option in form.us else option
            for option in site.options
        ]
        table.add_row(site.rewrite, site.layer, site.chosen, ", ".join(options))
    return table


def _steps(batch: BatchPlan, entry: PlanEntry | None) -> Table:
    table = Table("step", "engine", box=None, header_style="bold", pad_edge=False)
    for heading in ("us", "workspace"):
        table.add_column(heading, justify="right")
    table.add_column("others, us")
    several = batch.streams.count > 1
    if several:
        table.add_column("stream", justify="right")
    titles = titles_of(batch.graph)
    for node in batch.steps:
        stream = [str(batch.streams.of.get(node.name, 0))] if several else []
        step = entry.steps.get(titles[node.name]) if entry else None
        if step is None:
            table.add_row(
                titles[node.name],
                node.form or step_text(node, batch.graph).partition("(")[0],
                "",
                "",
                "",
                *stream,
            )
            continue
        others = ", ".join(f"{kind} {us:g}" for kind, us in step.others.items())
        table.add_row(
            titles[node.name], step.engine, f"{step.us:g}", str(step.workspace or ""), others, *stream
        )
    return table
