"""The first network of diffusion: a few bumps in space that all noise levels share, with a readout for each."""

import math

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.readouts import Readout


class RBF(Network):
    """x (batch, *shape), c_time (batch,) -> (batch, *out): what `bumps` Gaussian bumps, normalised to sum 1, vote for,

    h_j = softmax_j(-|x - c_j|^2 / (2 w_j^2)),  output = W(c_time) [h, 1].

    channels: numbers of a point; used where shape is empty. out_channels: 2 * channels where a variance is asked for as
    well, 0: as many as channels. noise_levels: of the schedule's table; readouts: how many; see `Readout`.
    Raises Refused for data of another size. Source: arXiv:1503.03585, app. D.1 (16 bumps).
    """

    def __init__(
        self,
        channels: int = 2,
        out_channels: int = 0,
        shape: tuple[int, ...] = (),
        noise_levels: int = 0,
        bumps: int = 16,
        readouts: int = 0,
    ) -> None:
        super().__init__()
        self.size = math.prod(shape) if shape else channels
        if bumps < 1 or self.size < 1:
            raise Refused(f"an RBF network needs at least 1 bump and 1 number a sample, not {bumps} and {self.size}")
        self.times = (out_channels or channels) // channels  # how many numbers each one of the input becomes
        self.centres = nn.Parameter(torch.randn(bumps, self.size))
        self.log_widths = nn.Parameter(torch.full((bumps,), -0.5))
        self.readout = Readout(bumps, self.size * self.times, noise_levels, readouts)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        if x[:1].numel() != self.size and len(x):
            raise Refused(f"this RBF network takes {self.size} numbers a sample, not {tuple(x.shape[1:])}")
        apart = (x.flatten(1)[:, None] - self.centres).square().sum(-1)  # (batch, bumps)
        h = (-apart / (2 * (2 * self.log_widths).exp())).softmax(-1)
        return self.readout(h, c_time).view(len(x), x.shape[1] * self.times, *x.shape[2:])
