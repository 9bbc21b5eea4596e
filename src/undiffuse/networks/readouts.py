"""A linear layer of its own for every noise level, as the first diffusion networks had for the time."""

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused

FEW, LAST = 32, 999.0  # matrices of a schedule without a table, and the c_time of its noisiest level


class Readout(nn.Module):
    """y = W(c_time) [h, 1]: a matrix for each noise level, or fewer, linear in c_time between two of them.

    h (batch, width), c_time (batch,) -> (batch, outputs). levels: of the schedule's table, whose c_time goes from 0 to
    levels - 1; 0: continuous, to 999. count: how many matrices, evenly spread over sqrt(c_time) and so denser near the
    data, where guesses change fastest; 0: one for each level, of a continuous schedule 32. All start alike.
    Source: arXiv:1503.03585, app. D.1 (one for each level).
    """

    def __init__(self, width: int, outputs: int, levels: int, count: int = 0) -> None:
        super().__init__()
        if levels < 0 or count < 0:
            raise Refused(f"a readout needs noise_levels and readouts of 0 or more, not {levels} and {count}")
        each, count = count in (0, levels) and levels > 0, count or levels or FEW
        self.outputs, self.power = outputs, 1.0 if each else 0.5
        self.scale = (count - 1) / ((levels - 1 if levels else LAST) or 1) ** self.power
        self.every = nn.Linear(width, count * outputs)  # all levels at once, which is one product; two are kept
        with torch.no_grad():
            self.every.weight.view(count, outputs, width)[1:].copy_(self.every.weight[:outputs])
            self.every.bias.zero_()
        self.count = count

    def forward(self, h: Tensor, c_time: Tensor) -> Tensor:
        place = (c_time.float().clamp(min=0) ** self.power * self.scale).clamp(max=self.count - 1)
        levels = torch.arange(self.count, device=place.device)
        share = (1 - (place[:, None] - levels).abs()).clamp(min=0).to(h.dtype)  # (batch, count), of the two beside it
        return torch.bmm(share[:, None], self.every(h).view(len(h), self.count, self.outputs))[:, 0]
