"""What the generated text calls its plans: batch sizes; where there are several profiles, a profile at a batch size."""

from __future__ import annotations

from dataclasses import dataclass

from cnngen.codegen.plan import BatchPlan, plan_name
from cnngen.spec.network import NetworkSpec
from cnngen.spec.resolve import profile_text


class NumberedPlans:
    """Words for plans that are candidates: their numbers, which they have as profiles."""

    every = "candidate"
    selector = "pass.plan()"

    def case(self, batch: BatchPlan) -> str:
        """The label of a plan in a switch over the selector."""
        return f"case {batch.profile}:"

    def suffix(self, batch: BatchPlan) -> str:
        """What tells the name of something of this plan from the same of others."""
        return f"plan{batch.profile}"

    def suffixes(self, batch: BatchPlan) -> tuple[str, ...]:
        """The same for what several plans may share."""
        return (self.suffix(batch),)


@dataclass(frozen=True)
class PlanNames:
    """Words for the plans of a network."""

    spec: NetworkSpec

    @property
    def every(self) -> str:
        """All of them, after "one a"."""
        sizes = ", ".join(map(str, self.spec.batch_sizes))
        if not self.spec.profiles:
            return f"planned batch size: {sizes}"
        profiles = "; ".join(profile_text(self.spec, k) for k in range(self.spec.profile_count))
        return f"plan: {profiles}" + (f"; each at batch size {sizes}" if self.spec.batched else "")

    @property
    def selector(self) -> str:
        """What tells them apart at run time."""
        return "pass.plan()" if self.spec.profiles else "pass.batch()"

    def case(self, batch: BatchPlan) -> str:
        """The label of a plan in a switch over the selector."""
        if not self.spec.profiles:
            return f"case {batch.batch}:"
        sizes = self.spec.batch_sizes
        number = batch.profile * len(sizes) + sizes.index(batch.batch)
        words = profile_text(self.spec, batch.profile) + (f", batch {batch.batch}" if len(sizes) > 1 else "")
        return f"case {number}:  // {words}"

    def suffix(self, batch: BatchPlan) -> str:
        """What tells the name of something of this plan from the same of others."""
        return plan_name(self.spec, batch.profile, batch.batch)

    def suffixes(self, batch: BatchPlan) -> tuple[str, ...]:
        """The same for what several plans of a profile may share: the shortest first."""
        return (f"profile{batch.profile}", self.suffix(batch)) if batch.profile else (f"batch{batch.batch}",)
