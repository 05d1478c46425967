"""The lock: what `cnngen tune` chose for a spec on a GPU, and what it measured, as text to commit beside the spec.

For each plan the form of each rewrite's sites, the branches that run beside others, and for each step its engine or
tile, microseconds and workspace, with what the alternatives took. A step's entry names a digest of the step that it was
chosen for: where the network has changed, only the entries of what has changed are stale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cnngen.codegen.choices import Choices
from cnngen.codegen.engines import is_engine
from cnngen.spec.errors import CnngenError, Problem

HEADER = (
    "# What `cnngen tune` chose for {spec}, and what it measured (microseconds). Commit it: `cnngen build` reads it,\n"
    "# `cnngen explain` shows it. Serialized plans lie beside it in {plans}, which may be deleted at any time.\n"
)
SUFFIX, PLANS_SUFFIX = ".lock.yaml", ".plans"


class LockError(CnngenError):
    """A lock cannot be read, or is not of the network, the GPU or the libraries at hand."""


def _known_engine(text: str) -> str:
    if not is_engine(text):
        raise ValueError(
            f"{text!r} names no engine: expected such as `cudnn 4 24=3` or `implicit_gemm m=64 n=32`"
        )
    return text


def _plain(text: str) -> str:
    if not re.fullmatch(r"[\w .,()/+-]{0,100}", text):
        raise ValueError(f"{text!r}: expected the name or the version of a GPU, a driver or a library")
    return text


SLOWER = 1.03  # times: what two timings of one pass do not differ by

EngineText = Annotated[str, AfterValidator(_known_engine)]
PlainText = Annotated[str, AfterValidator(_plain)]  # it reaches C++


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FormEntry(_Entry):
    """A rewrite's choice at one layer."""

    chosen: str
    us: Mapping[str, float] = Field(
        default_factory=dict,
        description="what each option's steps took together; none where it was chosen with others",
    )


class StepEntry(_Entry):
    """A step's engine or tile."""

    engine: EngineText
    of: str = Field(description="digest of the step")
    us: float
    workspace: int = Field(default=0, description="bytes")
    others: Mapping[str, float] = Field(default_factory=dict, description="the best of each other kind")


class PlanEntry(_Entry):
    """One batch size in one profile."""

    us: float = Field(description="a pass as it is locked")
    first_us: float = Field(description="a pass by every first choice")
    forms: Mapping[str, FormEntry] = Field(
        default_factory=dict, description="`<rewrite> <layer>` -> what was chosen"
    )
    beside: tuple[str, ...] = Field(default=(), description="branches on streams of their own")
    steps: Mapping[str, StepEntry]

    @property
    def is_slower(self) -> bool:
        """Whether the pass is slower than by every first choice, by more than noise."""
        return self.us > SLOWER * self.first_us

    def choices(self) -> Choices:
        """What passes are to be told."""
        forms = {}
        for name, entry in self.forms.items():
            rewrite, _, layer = name.partition(" ")
            forms[rewrite, layer] = entry.chosen
        return Choices(
            forms=forms,
            engines={name: (step.engine, step.of) for name, step in self.steps.items()},
            beside=frozenset(self.beside),
        )


class Lock(_Entry):
    """A lock file. `machine`: GPU, driver and libraries by name."""

    cnngen: str
    machine: Mapping[str, PlainText]
    plans: Mapping[str, PlanEntry] = Field(description="by the plan's name: batch8, profile1_batch2")

    def choices(self, plan: str) -> Choices:
        """Of a plan by its name; no choices where it was not tuned."""
        return self.plans[plan].choices() if plan in self.plans else Choices()


def load_lock(path: Path) -> Lock:
    """Reads a lock. Raises LockError with every entry that is none."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Lock.model_validate(data)
    except OSError as error:
        raise LockError(
            Problem(f"cannot read the lock: {error.strerror or error}", where=str(path))
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LockError(Problem(f"not a lock: {error}", where=str(path))) from None
    except ValidationError as error:
        problems = [
            Problem(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}", where=str(path))
            for detail in error.errors(include_url=False)
        ]
        raise LockError(problems) from None


def lock_text(lock: Lock, spec: str, plans: str) -> str:
    """The lock as it is written: plans, rewrites and steps sorted, one line an entry."""
    lines = [f"cnngen: {_scalar(lock.cnngen)}", "machine:"]
    lines += [f"  {name}: {_scalar(value)}" for name, value in sorted(lock.machine.items())]
    lines.append("plans:")
    for name, plan in sorted(lock.plans.items()):
        lines += [f"  {name}:", f"    us: {_rounded(plan.us)}", f"    first_us: {_rounded(plan.first_us)}"]
        if plan.beside:
            lines.append(f"    beside: {_flow(sorted(plan.beside))}")
        for part, entries in (
            ("forms", {key: _form(entry) for key, entry in plan.forms.items()}),
            ("steps", {key: _step(entry) for key, entry in plan.steps.items()}),
        ):
            if entries or part == "steps":
                lines.append(f"    {part}:" if entries else f"    {part}: {{}}")
            lines += [f"      {_scalar(key)}: {_flow(entry)}" for key, entry in sorted(entries.items())]
    return HEADER.format(spec=spec, plans=plans) + "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    return _flow([text])[1:-1]


def _flow(data: object) -> str:
    dumped = yaml.safe_dump(data, sort_keys=False, default_flow_style=True, width=1 << 20, allow_unicode=True)
    return str(dumped).strip()


def _form(entry: FormEntry) -> dict[str, Any]:
    found: dict[str, Any] = {"chosen": entry.chosen}
    if entry.us:
        found["us"] = {option: _rounded(us) for option, us in entry.us.items()}
    return found


def _step(entry: StepEntry) -> dict[str, Any]:
    found: dict[str, Any] = {"engine": entry.engine, "of": entry.of, "us": _rounded(entry.us)}
    if entry.workspace:
        found["workspace"] = entry.workspace
    if entry.others:
        found["others"] = {kind: _rounded(us) for kind, us in entry.others.items()}
    return found


def _rounded(us: float) -> float:
    return float(f"{us:.3g}") if us < 100 else round(us, 1)


def slug(gpu: str) -> str:
    """`NVIDIA H100 80GB HBM3` -> `nvidia-h100-80gb-hbm3`: a GPU's name in a lock's file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in gpu.lower()).split())


def lock_path(spec: Path, gpu: str) -> Path:
    """Where the lock of a spec for a GPU lies."""
    return spec.with_name(f"{spec.stem}.{slug(gpu)}{SUFFIX}")


def locks_beside(spec: Path) -> list[Path]:
    """Every lock of a spec, by name."""
    return sorted(spec.parent.glob(f"{spec.stem}.*{SUFFIX}"))
