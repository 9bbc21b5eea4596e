"""Alignment: beside another loss, features inside the network learn to predict those of a run that is there already."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.network import Depth, depth, features
from undiffuse.core.objective import RUN, Batch, Objective, Player
from undiffuse.core.random import Random
from undiffuse.objectives.denoising import Denoising

STREAM = 71  # of the teacher's noise; an objective's own draws have small numbers


@dataclass(frozen=True, eq=False)
class Alignment(Objective):
    """loss = L - weight mean over places of cos(projector(features), the teacher's features of the clean item).

    L is the base objective's loss. The projector is a perceptron of three layers that takes steps with the run and is
    not saved with the model. The teacher is another run on equal data, frozen; it sees each item with little noise and
    without conditions.
    base: the objective whose loss L is; by default denoising. teacher: a run that draws samples. depth, teacher_depth:
    where the features are read, see `HasDepths`; both need as many places. weight: of the cosine. stop: the step from
    which on there is L alone, since late in training alignment holds a network back; 0: never. noise: sigma / alpha of
    what the teacher sees. hidden: the projector's width.
    Raises Refused for numbers that make no sense, networks without these depths and depths of other sizes.
    Source: arXiv:2410.06940, sec. 3, with a run of one's own in place of a downloaded encoder.
    """

    teacher: Predictor
    base: Objective = field(default_factory=Denoising)
    depth: str = "middle"
    teacher_depth: str = "middle"
    weight: float = 0.5
    stop: int = 0
    noise: float = 0.1
    hidden: int = 256
    _made: nn.ModuleDict = field(default_factory=nn.ModuleDict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf or self.stop < 0 or not 0 < self.noise < math.inf or self.hidden < 1:
            raise Refused(
                "alignment needs a weight of 0 or more, a stop of 0 or more steps, noise above 0 and hidden of 1 or "
                f"more, not {self.weight:g}, {self.stop}, {self.noise:g} and {self.hidden}"
            )

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        return self.base.whole_batch

    @property
    def embeds(self) -> bool:  # type: ignore[override]
        return self.base.embeds

    @property
    def jumps(self) -> frozenset[str]:  # type: ignore[override]
        return self.base.jumps

    @property
    def inner(self) -> Objective:  # type: ignore[override]
        return self.base

    def signs(self, model: Any) -> dict[str, float]:
        return self.base.signs(model)

    def trouble(self, model: Any, signs: Mapping[str, float]) -> str:
        return self.base.trouble(model, signs)

    def players(self, model: Any) -> tuple[Player, ...]:
        projector = self.projector(model)
        return tuple(
            replace(each, modules=(*each.modules, projector)) if each.name == RUN else each
            for each in self.base.players(model)
        )

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        if player != RUN or (self.stop and step >= self.stop):
            return self.base.loss(model, batch, random, step, player)
        with features(self._student(model)) as seen:
            loss = self.base.loss(model, batch, random, step, player)
        if not seen:
            raise Refused("alignment reads features inside the network, which train.compile hides: leave compile out")
        target = self.target(batch, random.fold(STREAM))
        guess = self.projector(model)(seen[0]).float()
        if guess.shape != target.shape:
            raise Refused(
                f"alignment needs as many places at both depths: {self.depth!r} has {guess.shape[1]}, the teacher's "
                f"{self.teacher_depth!r} {target.shape[1]}"
            )
        return loss - self.weight * F.cosine_similarity(guess, target, dim=2).mean(1)

    @torch.no_grad()
    def target(self, batch: Batch, random: Random) -> Tensor:
        """The teacher's features of the items, (batch, places, width)."""
        x_t = self.teacher.process.marginal(self.teacher.state_of(batch.x), self.time).sample(random)
        with features(self._teachers()) as seen:
            self.teacher(x_t, self.time)
        return seen[0].float()

    @cached_property
    def time(self) -> Tensor:
        """When the teacher's process has this noise."""
        return self.teacher.process.schedule.time(torch.tensor(-2 * math.log(self.noise), dtype=torch.float64))

    def projector(self, model: Any) -> nn.Module:
        """From the network's features to the teacher's; made when it is first asked for."""
        if "projector" not in self._made:
            sizes = (self._student(model).width, self.hidden, self.hidden, self._teachers().width)
            first, second, third = (nn.Linear(a, b, dtype=torch.float32) for a, b in pairwise(sizes))
            made = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), third)
            self._made["projector"] = made.to(next(model.parameters()).device)
        return self._made["projector"]

    def after(self, model: Any, step: int) -> None:
        self.base.after(model, step)

    def state(self) -> dict[str, Tensor]:
        return self.base.state()

    def initial(self) -> nn.Module | None:
        return self.base.initial()

    @property
    def beside(self) -> Mapping[str, Objective]:
        return {"unaligned": self.base, **self.base.beside}

    def _student(self, model: Any) -> Depth:
        return depth(model.network, self.depth, "alignment: the run's")

    def _teachers(self) -> Depth:
        return depth(self.teacher.network, self.teacher_depth, "alignment: the teacher's")
