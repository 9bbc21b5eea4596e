"""PatchGAN: a discriminator learns to tell reconstructions from data, and the autoencoder to pass for data."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Player
from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss
from undiffuse.core.single_precision import in_float32
from undiffuse.networks.discriminator import PatchDiscriminator
from undiffuse.optimisers.adamw import AdamW

PLAYER = "discriminator"
MOST, TINY = 1e4, 1e-4
BETAS = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class PatchGANLoss(ReconstructionLoss):
    """The run: lambda g, g = -mean D(x_hat);  the discriminator: (mean max(0, 1 - D(x)) + mean max(0, 1 + D(x_hat)))/2.

    Means are over patches. lambda = |dR/dw| / (|dg/dw| + 1e-4), at most 1e4, R the terms before this one and w the
    weights of the decoder's last layer, both of the whole batch: whatever their units, the game pulls as hard there as
    all of them, times `weight`. Where no term comes before, lambda = 1.
    The run's term has the gradient of lambda g and the value 0, for the value of a game says nothing: neither a learned
    scale nor the loss that is shown follows it. The discriminator's loss is 1 where it knows nothing, 0 where all.
    start: the first step of the game; before, the discriminator does not move and costs nothing. width, layers: as of
    a `PatchDiscriminator`; it moves by Adam with betas 0.5 and 0.9, at the run's learning rate.
    Raises Refused for a start below 0, a width or layers below 1, and for data that such a discriminator does not see.
    Source: arXiv:2012.09841, eq. 6 and 7, and arXiv:2112.10752's code, which starts at step 50,001.
    """

    whole_batch: ClassVar[bool] = True

    weight: float = 0.5
    start: int = 2000
    width: int = 64
    layers: int = 3
    _held: dict[str, PatchDiscriminator] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.start < 0 or self.width < 1 or self.layers < 1:
            raise Refused(
                f"patch_gan needs a start of 0 or more, and a width and layers of at least 1, not {self.start}, "
                f"{self.width} and {self.layers}"
            )

    def __call__(self, seen: Reconstruction) -> Tensor:
        """What the player lowers, (batch,); without gradients, and before the start, 0."""
        model = seen.model
        self.discriminator(model).refuse(seen.x)
        if seen.player == PLAYER:
            real, fake = (self._judged(model, each.detach()) for each in (seen.x, seen.x_hat))
            return ((1 - real).relu().mean(1) + (1 + fake).relu().mean(1)) / 2
        if seen.step < self.start or not torch.is_grad_enabled():
            return torch.zeros_like(seen.loss)
        g = -self._judged(model, seen.x_hat).mean(1)
        pull = self._balance(model, seen.loss, g) * g
        return pull - pull.detach()

    def players(self, model: Autoencoder) -> tuple[Player, ...]:
        """The discriminator."""
        return (Player(PLAYER, (self.discriminator(model),), AdamW(BETAS, weight_decay=0.0), start=self.start),)

    def discriminator(self, model: Autoencoder) -> PatchDiscriminator:
        """The discriminator of the model's data; made when it is first asked for."""
        if PLAYER not in self._held:
            network = model.network
            if not network.dimensions:
                raise Refused("patch_gan judges patches of sequences, images and volumes, and points have none")
            with in_float32():
                made = PatchDiscriminator(network.channels, network.dimensions, self.width, self.layers)
            self._held[PLAYER] = made
        return self._held[PLAYER]

    def _judged(self, model: Autoencoder, x: Tensor) -> Tensor:
        """What the discriminator says of each patch, (batch, patches)."""
        return self.discriminator(model)(x).float().flatten(1)

    def _balance(self, model: Autoencoder, before: Tensor, g: Tensor) -> Tensor:
        """lambda, without a gradient."""
        if not before.requires_grad:
            return torch.ones((), dtype=g.dtype, device=g.device)
        norms = [
            torch.autograd.grad(loss.mean(), model.last_layer, retain_graph=True)[0].norm() for loss in (before, g)
        ]
        return (norms[0] / (norms[1] + TINY)).clamp(max=MOST).detach()
