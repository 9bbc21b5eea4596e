"""Autoencoding: give back what went in, through a bottleneck that has its price."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import RUN, Batch, Objective, Player
from undiffuse.core.random import Random
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss
from undiffuse.losses.l1 import L1Loss


@dataclass(frozen=True)
class Autoencoding(Objective):
    """loss = sum of weight * term(x, x_hat) + penalty_weight * bottleneck's penalty,  x_hat = decode(z), z ~ q(z | x).

    Every part is a sum over the numbers of an item, and the loss a mean over items. losses: the terms, each with its
    weight, in this order. penalty_weight: LDM's KL weight; 1 with learned_scale is the bound -log p(x) <= ..., in nats.
    learned_scale: the terms R count R / e^s + d log Z(s) for d numbers, with a trained s (`Autoencoder.log_scale`) and
    Z of the first term; with that term alone it is -log p(x given z). levels: of data on so many even levels from -1 to
    1, as 256 of pixels, this is the probability of the level, see `Decoder`; 0: the density. frozen_encoder: only the
    decoder is trained, bottleneck and encoder stay as they are. Source: arXiv:2112.10752, app. G.
    Raises Refused for no term, for a weight that is not finite and at least 0, for a scale without a density, and for
    levels without a scale or with several terms.
    """

    predicts: ClassVar[str] = "reconstruction"
    families: ClassVar[frozenset[str]] = VALUES
    trains: ClassVar[type] = Autoencoder

    losses: tuple[ReconstructionLoss, ...] = field(default_factory=lambda: (L1Loss(),))
    penalty_weight: float = 1e-6
    learned_scale: bool = False
    levels: int = 0
    frozen_encoder: bool = False

    def __post_init__(self) -> None:
        if not self.losses:
            raise Refused('autoencoding needs losses, at least one: objective.losses = [{name = "l1"}]')
        for name, weight in (("penalty_weight", self.penalty_weight), *(("weight", e.weight) for e in self.losses)):
            if not 0 <= weight < math.inf:
                raise Refused(f"autoencoding needs a {name} of 0 or more, not {weight:g}")
        if self.learned_scale and self.losses[0].log_partition(torch.zeros((), dtype=torch.float32)) is None:
            raise Refused(
                f"learned_scale needs a first loss that is a density, l1 or l2, not {type(self.losses[0]).__name__}"
            )
        if self.learned_scale and not self.losses[0].weight:
            raise Refused("learned_scale needs a first loss of a weight above 0")
        if self.levels and not (self.learned_scale and self.density and self.levels > 1):
            raise Refused(
                f"levels = {self.levels} is how many values a number has, 2 or more, with learned_scale = true and the "
                "loss l1 or l2 alone: p(x given z) is the probability of a level then"
            )

    @property
    def whole_batch(self) -> bool:  # type: ignore[override]
        """Whether a term looks at the whole batch."""
        return any(term.whole_batch for term in self.losses)

    def signs(self, model: Autoencoder) -> dict[str, float]:
        """Numbers of the bottleneck."""
        return model.bottleneck.signs()

    @property
    def of_pixels(self) -> tuple[str, ...]:  # type: ignore[override]
        """The terms that read pixels."""
        return tuple(registry.name_of(term) for term in self.losses if term.pixels)

    def loss(self, model: Autoencoder, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        """The loss of each item that `player` lowers, (batch,)."""
        trained = player == RUN and not self.frozen_encoder
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            posterior = model.posterior(batch.x)
            z = model.latents(posterior, random.fold(0))
        with torch.set_grad_enabled(player == RUN and torch.is_grad_enabled()):
            x_hat = model.decode(z)
        total = torch.zeros(len(batch), dtype=x_hat.dtype, device=x_hat.device)
        for i, term in enumerate(self.losses):
            owns = player in {each.name for each in term.players(model)}
            if owns or player == RUN:
                own = random.fold(1, i)
                seen = Reconstruction(model, batch.x, posterior, z, x_hat, total, own, step, player)
                total = total + (1.0 if owns else term.weight) * term(seen)
        if player != RUN:
            return total
        if self.levels:
            at = model.log_scale - math.log(self.losses[0].weight)
            total = -self.losses[0].log_levels(batch.x, x_hat, at, Decoder(levels=self.levels)).to(total.dtype)
        elif self.learned_scale:
            total = total / model.log_scale.exp() + batch.x[0].numel() * self._log_partition(model)
        return total if self.frozen_encoder else total + self.penalty_weight * model.bottleneck.penalty(posterior, z)

    @property
    def density(self) -> ReconstructionLoss | None:
        """The term whose exp(-weight * term / e^s) is p(x given z) up to a factor; None: there is no such density."""
        (first, *others), at = self.losses, torch.zeros((), dtype=torch.float32)
        alone = not any(term.weight for term in others) and first.weight > 0
        return first if alone and first.log_partition(at) is not None else None

    def log_density(self, model: Autoencoder, x: Tensor, z: Tensor, levels: Decoder | None = None) -> Tensor:
        """log p(x given z) of encoded x in nats, (batch,): a density, or the probability of x on these levels.

        Raises Refused where no density belongs to the losses.
        """
        if self.density is None:
            names = ", ".join(type(term).__name__ for term in self.losses)
            raise Refused(f"no density p(x given z) belongs to these losses: {names}; l1 or l2 alone are one")
        x_hat = model.decode(z)
        if levels is not None:
            return self.density.log_levels(x, x_hat, model.log_scale - math.log(self.density.weight), levels)
        none = torch.zeros(len(x), dtype=x_hat.dtype, device=x.device)
        seen = Reconstruction(model, x, model.posterior(x), z, x_hat, none, Random(0))
        found = self.density.weight * self.density(seen) / model.log_scale.exp()
        return -found - x[0].numel() * self._log_partition(model)

    def players(self, model: Any) -> tuple[Player, ...]:
        """The run, and those of the terms."""
        return (Player(RUN, (model,)), *(player for term in self.losses for player in term.players(model)))

    def after(self, model: Any, step: int) -> None:
        """Whatever the bottleneck and the terms change after a step."""
        if not self.frozen_encoder:
            model.bottleneck.after(step)
        for term in self.losses:
            term.after(model, step)

    def to(self, device: torch.device) -> None:
        for term in self.losses:
            term.to(device)

    def state(self) -> dict[str, Tensor]:
        """That of the terms, by their places."""
        return {f"losses.{i}.{key}": each for i, term in enumerate(self.losses) for key, each in term.state().items()}

    def _log_partition(self, model: Autoencoder) -> Tensor:
        """log Z of exp(-weight * term / e^s) over one number."""
        first = self.losses[0]
        found = first.log_partition(model.log_scale - math.log(first.weight))
        assert found is not None
        return found
