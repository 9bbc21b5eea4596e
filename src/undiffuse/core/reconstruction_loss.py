"""What an autoencoder loses of its data: the interface of one term, and what a term is given."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.objective import RUN, Player
from undiffuse.core.random import Random


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A batch that went through an autoencoder, as a term sees it.

    x, x_hat: encoded data and what was decoded, (batch, *shape), float32. posterior: q(z given x). z: drawn from it.
    loss: the weighted sum of the terms before this one, (batch,). random: the term's own; step: of training; player:
    who lowers the term.
    """

    model: Autoencoder
    x: Tensor
    posterior: Distribution
    z: Tensor
    x_hat: Tensor
    loss: Tensor
    random: Random
    step: int = 0
    player: str = RUN


class ReconstructionLoss(ABC):
    """One term of what an autoencoder is trained on; `weight` is a field of each.

    players, after, state, to, whole_batch: as of an `Objective`, whose model is the autoencoder.
    pixels: it reads pictures as pixels in [-1, 1], and no other encoded data.
    """

    whole_batch: ClassVar[bool] = False
    pixels: bool = False

    weight: float

    @abstractmethod
    def __call__(self, seen: Reconstruction) -> Tensor:
        """The term of each item, (batch,), summed over its numbers and before its weight; of one of its own players,
        what that one lowers.
        """

    def log_partition(self, log_scale: Tensor) -> Tensor | None:
        """log of the integral of exp(-term / e^log_scale) over one number, where the term is a sum over numbers that
        makes it a density of x given z; None: it is none.
        """
        return None

    def log_levels(self, x: Tensor, x_hat: Tensor, log_scale: Tensor, levels: Decoder) -> Tensor:
        """log of the share of that density that falls to the level of each number, summed over those of an item,
        (batch,) in float64. x: on the levels. Raises Refused where there is no density.
        """
        raise Refused(f"{type(self).__name__} is no density of x given z: l1 and l2 are")

    def players(self, model: Autoencoder) -> tuple[Player, ...]:
        """Who takes steps besides the run, under names of their own."""
        return ()

    def after(self, model: Autoencoder, step: int) -> None:  # noqa: B027 - a default, not a gap
        """What changes after a step, 1, 2 ...; called without gradients."""

    def to(self, device: torch.device) -> None:
        """Move the modules that it holds to a device."""
        for each in vars(self).values():
            if isinstance(each, nn.Module):
                each.to(device)

    def state(self) -> dict[str, Tensor]:
        """All that changes besides the players' weights, see `Objective.state`."""
        return {}
