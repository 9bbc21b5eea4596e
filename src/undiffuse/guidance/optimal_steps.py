"""Optimal steps: the sub-sequence of times along which the bound loses least, by dynamic programming."""

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian


def lost(process: Gaussian, times: Tensor, variances: Tensor) -> Tensor:
    """What a step from times[j] to times[i] adds to the bound with the best variance, in nats an element: (n, n).

    1/2 log(1 + pull^2 variance / lambda^2), lambda^2 the posterior's variance; infinite where times[i] >= times[j].
    times: (n,) rising, above 0. variances: (n,), E Var(x_0 given x_t). Source: arXiv:2201.06503, theorem 3.
    """
    alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
    snr = (alpha / sigma) ** 2
    rest = -torch.expm1(-(snr[:, None].log() - snr[None].log()))  # 1 - SNR(t)/SNR(s), rows s, columns t
    ratio = rest * snr[:, None] * variances[None]  # pull = alpha_s rest, lambda^2 = sigma_s^2 rest
    return torch.where(times[:, None] < times[None], 0.5 * torch.log1p(ratio.clamp(min=0)), torch.inf)


def optimal_steps(process: Gaussian, times: Tensor, variances: Tensor, steps: int) -> Tensor:
    """The grid of so many steps, from times[-1] over some of the times to times[0] and then 0, that loses least.

    By dynamic programming over all sub-sequences, O(steps n^2). Returns (steps + 1,) falling, in float64.
    Raises Refused for steps outside 2 ... n and for times that do not rise from above 0.
    Source: arXiv:2201.06503, sec. 3.3 (the least-cost path of arXiv:2106.03802).
    """
    times, variances = times.double(), variances.double()
    if times.ndim != 1 or times.shape != variances.shape or not bool((times.diff() > 0).all()) or float(times[0]) <= 0:
        raise Refused("optimal_steps needs times that rise from above 0 and as many variances")
    if not 2 <= steps <= len(times):
        raise Refused(f"optimal_steps takes 2 to {len(times)} steps over {len(times)} times, not {steps}")
    costs = lost(process, times, variances)
    best = torch.full((len(times),), torch.inf, dtype=torch.float64)
    best[0] = 0.0  # the cheapest way down from each time, in so many steps as there were rounds
    choices: list[Tensor] = []
    for _ in range(steps - 1):
        best, choice = (best[:, None] + costs).min(0)
        choices.append(choice)
    path = [len(times) - 1]
    for choice in reversed(choices):
        path.append(int(choice[path[-1]]))
    return torch.cat([times[path], torch.zeros(1, dtype=torch.float64)])
