"""MeanFlow: a flow map from data alone, by the identity between average velocities and their rate of change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core import registry, straight_path
from undiffuse.core.broadcast import factor
from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.derivative import Method
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.named_parts import rows
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.time_distributions.log_normal import LogNormal


@dataclass(frozen=True)
class MeanFlow(Objective):
    """loss = l / (l + epsilon)^power,  l = |u + (tau - r) [du/dtau] - v|^2 summed over a sample's numbers; what stands
    in brackets, and the weight, have no gradient.

    u is the average velocity from tau to r on the straight path, which any schedule is after a change of scale and time
    (see `straight_path`), v = noise - x_0. du/dtau is taken along the path, (velocity, 0, 1):
    form: "original" takes v itself for this velocity (arXiv:2505.13447, eq. 10 and 11); "improved" the model's own
    guess of it, so that what is regressed is v alone, with the floor of flow matching (arXiv:2512.02012).
    times, ends: laws of tau and r by noise level; without ends both are drawn by times, else r is at most tau. instant:
    the share of samples with r = tau, which is plain flow matching. power, epsilon: of the weight. A power above 0, as
    1 in the papers, is for data of many numbers, as images: with few l, and so the weight, depends on the sample's own
    noise, which shifts what is learned.
    guidance: the weight to guide with inside the training of a model whose conditions are dropped at times:
    (1 - k) weight v + k v_c + (1 - k) (1 - weight) v_n in place of v, where v_c is the model's own velocity with the
    conditions and v_n without, so that one call gives guided samples. mix: k; None: 1 - 1/weight, where v counts once.
    With denoiser.guidance_input the weight is drawn from this range, from 1 on, evenly in its logarithm, and is told.
    derivative: "forward", exact, or "difference", for networks with an operation that has no forward mode.
    Raises Refused for numbers that make no sense, and for guidance without a condition.
    """

    families: ClassVar[frozenset[str]] = VALUES
    jumps: ClassVar[frozenset[str]] = frozenset({"any"})
    trains: ClassVar[type] = Denoiser
    distils: ClassVar[bool] = True

    form: Literal["original", "improved"] = "improved"
    times: TimeDistribution = field(default_factory=lambda: LogNormal(-0.4, 1.0))
    ends: TimeDistribution | None = None
    instant: float = 0.5
    power: float = 0.0
    epsilon: float = 0.01
    guidance: float = 1.0
    mix: float | None = None
    derivative: Method = "forward"

    aliases: ClassVar[tuple[str, ...]] = ("imf", "average_velocity")

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        """From the run's weights, on its noise levels; the teacher's weight is guided with inside the training."""
        times = {name: tables["objective"][name] for name in ("times",) if name in tables["objective"]}
        guided = {} if teacher == run else {"guidance": teacher.get("weight", 1.0)}
        return {
            "init": {"run": run},
            "denoiser": {"jumps": "any"},
            "objective": {"name": "mean_flow", **times, **guided},
            "sampler": {"name": "jump", "steps": to},
        }

    def __post_init__(self) -> None:
        if not 0 <= self.instant <= 1 or self.power < 0 or self.epsilon <= 0:
            raise Refused(
                "mean_flow needs instant in [0, 1], power of 0 or more and epsilon above 0, not "
                f"{self.instant:g}, {self.power:g} and {self.epsilon:g}"
            )
        if self.guidance < 1 or not (self.mix is None or 0 <= self.mix < 1):
            mix = "none" if self.mix is None else f"{self.mix:g}"
            raise Refused(f"mean_flow needs guidance of 1 or more and mix in [0, 1), not {self.guidance:g} and {mix}")

    def needs_null(self, weight_is_input: bool) -> bool:
        return self.guidance > 1 or weight_is_input

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        if batch.mask is not None:
            raise Refused(f"objective {registry.name_of(self)!r} cannot leave padding out: take denoising")
        t, r = self.pair(model.process.schedule, random, len(batch))
        return self.between(t, r, model, batch, random)

    def pair(self, schedule: Any, random: Random, n: int) -> tuple[Tensor, Tensor]:
        """Times t and r <= t, (n,) each."""
        t, r = self.times(schedule, random.fold(0), n), (self.ends or self.times)(schedule, random.fold(1), n)
        t, r = (torch.maximum(t, r) if self.ends is None else t), torch.minimum(t, r)
        return t, torch.where(random.fold(2).uniform((n,)) < self.instant, t, r)

    def between(self, t: Tensor, r: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample from given times to given ends, (batch,)."""
        x_0, schedule = batch.x, model.process.schedule
        alpha, sigma = (each.to(x_0.dtype) for each in schedule.at(t, x_0))
        noise = random.fold(3).normal(tuple(x_0.shape), x_0.dtype, x_0.device)
        x_t = alpha * x_0 + sigma * noise
        cond = dict(batch.cond)
        if model.guidance_input:
            low, high = max(1.0, model.guidance_input[0]), model.guidance_input[1]
            cond["guidance"] = low * (high / low) ** random.fold(4).uniform((len(batch),))
        v = self.guided(model, x_t, t, noise - x_0, cond)
        span = straight_path.place(schedule, t) - straight_path.place(schedule, r)
        change = factor(span, x_0) * self.rate(model, x_t, t, r, v, cond)
        error = straight_path.velocity(model, x_t, t, r, **cond) + change - v
        total = error.square().flatten(1).sum(1)
        return total / (total.detach() + self.epsilon) ** self.power

    @torch.no_grad()
    def rate(self, model: Any, x_t: Tensor, t: Tensor, r: Tensor, v: Tensor, cond: Mapping[str, Any]) -> Tensor:
        """du/dtau; 0 where r = t."""
        found, moving = torch.zeros_like(x_t), (r < t).nonzero().flatten()
        if len(moving):
            some: Any = rows(dict(cond), moving)
            x, at, end = x_t[moving], t[moving], r[moving]
            along = v[moving] if self.form == "original" else straight_path.velocity(model, x, at, **some)
            slope = straight_path.velocity_rate(model, x, at, end, along, some, self.derivative)
            found[moving] = slope.to(found.dtype)
        return found

    @torch.no_grad()
    def guided(self, model: Any, x_t: Tensor, t: Tensor, v: Tensor, cond: dict[str, Any]) -> Tensor:
        """The velocity to learn: v, with guidance drawn away from the model's own without conditions."""
        if self.guidance == 1 and "guidance" not in cond:
            return v
        names = [name for name in cond if name not in ("drop", "guidance")]
        if not names:
            raise Refused(
                "mean_flow with guidance needs a condition to guide to, and there is none: leave guidance at 1"
            )
        everything = torch.ones(len(v), dtype=torch.bool, device=x_t.device)
        masks = [~everything if (gone := drop_mask(cond.get("drop"), name)) is None else gone for name in names]
        weight = torch.as_tensor(cond.get("guidance", self.guidance), dtype=torch.float64).to(x_t.device)
        weight = torch.where(torch.stack(masks).all(0), 1.0, weight)
        mix = 1 - 1 / weight if self.mix is None else torch.where(weight > 1, torch.full_like(weight, self.mix), 0.0)
        with_it = straight_path.velocity(model, x_t, t, **cond)
        without = straight_path.velocity(model, x_t, t, **{**cond, "drop": everything})
        mix, share = (factor(each, v) for each in (mix, weight * (1 - mix)))
        return share * v + (1 - share - mix) * without + mix * with_it

    def reference(self, model: Any) -> Denoiser | None:
        return model

    @property
    def beside(self) -> Mapping[str, Objective]:
        return {"flow_matching": replace(self, instant=1.0, power=0.0, guidance=1.0)} if self.instant < 1 else {}
