"""Plans that were tuned for a model: stored with it by their number of steps, and taken where they fit a request."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.sampler import Sampler
from undiffuse.grids.listed import Listed
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.threshold import OFF

PLANS = "plans"  # the fact of a model
GUIDED = ("guidance", "interval", "rescale", "threshold", "weaker")  # what a plan is tuned for, of a request


@dataclass(frozen=True)
class StoredPlan:
    """A sampler's table on its times, (steps + 1,), for guesses that are guided so, in JSON's types, see `guided_by`.

    weights: the `digest` of the model that it was tuned for.
    """

    sampler: Mapping[str, Any]
    times: tuple[float, ...]
    guided: Mapping[str, Any]
    weights: str

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def __str__(self) -> str:
        return f"the plan tuned for {self.steps} steps"

    def opened(self) -> tuple[Sampler, Tensor]:
        """The sampler and its times."""
        return registry.build("samplers", self.sampler), torch.tensor(self.times, dtype=torch.float64)

    @classmethod
    def of(cls, said: Any) -> Self:
        """The plan that was stored; raises Refused for what is none."""
        if not isinstance(said, Mapping):
            raise Refused("a plan is a mapping")
        plan = cls(**registry.check(cls, dict(said), "its plan"))
        Listed(plan.times)
        plan.opened()
        return plan


def stored(facts: Mapping[str, Any]) -> dict[int, StoredPlan]:
    """The plans in the facts of a model, by their steps; raises Refused for what are none."""
    said = facts.get(PLANS, [])
    if not isinstance(said, list):
        raise Refused("its description spoils 'plans'")
    return {plan.steps: plan for plan in map(StoredPlan.of, said)}


def check_plans(facts: Mapping[str, Any], module: nn.Module) -> None:
    """Raises Refused for plans that are broken, and for those of other weights."""
    try:
        found = stored(facts)
    except (Refused, TypeError) as error:
        raise Refused(f"the run is broken: {error}") from None
    own = digest(module) if found else ""
    for plan in found.values():
        if plan.weights != own:
            raise Refused(f"the run is broken: {plan} belongs to a model with other weights")


def digest(module: nn.Module) -> str:
    """A text that differs where any weight does."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().float().contiguous().reshape(-1).numpy().data)
    return found.hexdigest()


def guided_by(request: SampleRequest) -> dict[str, Any]:
    """How a request that `resolve_guidance` gave guides, in JSON's types; without what it leaves alone."""
    said = {name: value for name, value in request.to_json().items() if name in GUIDED}
    return {name: value for name, value in said.items() if value not in (OFF, 0, None)}


def chosen(
    stored: Mapping[int, StoredPlan], asked: SampleRequest, guided: SampleRequest, steps: int
) -> tuple[StoredPlan | None, str]:
    """The plan for so many steps that fits a request, and what to say of it: none where a person names a sampler, its
    settings or a grid, nor for guidance other than it was tuned with. guided: the request that `resolve_guidance` gave.
    """
    plan = stored.get(steps)
    own = asked.sampler is not None or asked.grid is not None or asked.settings or asked.control or asked.classifier
    if plan is None or own:
        return None, ""
    if plan.guided != guided_by(guided):
        return None, f"not by {plan}, which is for {_words(plan.guided)}"
    return plan, f"by {plan}"


def _words(guided: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in guided.items()) or "no guidance"
