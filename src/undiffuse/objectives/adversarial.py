"""The adversarial game: a discriminator learns to tell samples from data, and the generator to pass for data."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.implicit import ImplicitModel
from undiffuse.core.objective import RUN, Batch, Objective, Player
from undiffuse.core.random import Random
from undiffuse.core.single_precision import in_float32
from undiffuse.networks.mlp_generator import LabelledPerceptron

PLAYER = "discriminator"


@dataclass(frozen=True, eq=False)
class Adversarial(Objective):
    """The run: -log sigmoid(D(G(z)));  the discriminator: -log sigmoid(D(x)) - log sigmoid(-D(G(z))) + penalty/2
    |dD/dx|^2.

    This is the non-saturating game with the R1 penalty, which keeps the discriminator flat at data, so that the game
    comes to rest. D: `depth` fully connected layers of `width`, at the run's learning rate and by its optimiser:
    without momentum (betas = [0, 0.99]), which makes the game turn in circles. Both are told the label, or neither
    where it is dropped.
    Raises Refused for a penalty below 0 and for sizes below 1.
    Source: arXiv:1406.2661, sec. 3; arXiv:1801.04406, eq. 9.
    """

    predicts: ClassVar[str] = "game"
    trains: ClassVar[type] = ImplicitModel

    penalty: float = 1.0
    width: int = 256
    depth: int = 2
    _held: dict[str, nn.Module] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.penalty < math.inf:
            raise Refused(f"adversarial needs a penalty of 0 or more, not {self.penalty:g}")
        for name, value in {"width": self.width, "depth": self.depth}.items():
            if value < 1:
                raise Refused(f"objective.{name} = {value}: the discriminator needs at least 1")

    def loss(self, model: ImplicitModel, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        x: Tensor = batch.x
        z = random.normal((len(x), model.network.latents), device=x.device)
        judge = self.discriminator(model)
        if player == RUN:
            return F.softplus(-self._judged(judge, model(z, **batch.cond), batch))
        with torch.no_grad():
            fake = model(z, **batch.cond)
        pays = self.penalty > 0 and torch.is_grad_enabled()
        real = x.detach().requires_grad_(pays)
        of_data = self._judged(judge, real, batch)
        found = F.softplus(-of_data) + F.softplus(self._judged(judge, fake, batch))
        if not pays:
            return found
        (slope,) = torch.autograd.grad(of_data.sum(), real, create_graph=True)
        return found + self.penalty / 2 * slope.square().flatten(1).sum(1)

    def players(self, model: ImplicitModel) -> tuple[Player, ...]:
        """The run and the discriminator."""
        return Player(RUN, (model,)), Player(PLAYER, (self.discriminator(model),))

    def discriminator(self, model: ImplicitModel) -> nn.Module:
        """The discriminator of the model's data; made when it is first asked for."""
        if PLAYER not in self._held:
            with in_float32():
                size, classes = math.prod(model.network.shape), model.network.classes
                self._held[PLAYER] = LabelledPerceptron(size, 1, self.width, self.depth, classes, "a discriminator")
        return self._held[PLAYER]

    def to(self, device: torch.device) -> None:
        for each in self._held.values():
            each.to(device)

    @staticmethod
    def _judged(judge: nn.Module, x: Tensor, batch: Batch) -> Tensor:
        """D(x given the batch's conditions), (batch,), in float32."""
        return judge(x.flatten(1), **batch.cond)[:, 0].float()
