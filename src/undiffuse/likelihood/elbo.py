"""The variational bound on the log-likelihood of values or tokens, on any grid of times."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import devices
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.bins import Bins
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import first
from undiffuse.core.random import Random
from undiffuse.grids.even import Even
from undiffuse.grids.log_snr import LogSNR
from undiffuse.likelihood.bound import Bound, joined
from undiffuse.likelihood.question import Progress, has_tokens, parts, silent
from undiffuse.likelihood.terms import Last, Variance, data, ending, prior, step


@devices.on_cpu()
@torch.no_grad()
def elbo(
    denoiser: Denoiser,
    x_0: Any,
    times: Tensor | None = None,
    *,
    decoder: Decoder | Bins | None = None,
    variance: Variance = "posterior",
    last: Last = "guess",
    seed: int = 0,
    indices: Tensor | None = None,
    draws: int = 1,
    subset: int | None = None,
    chances: Tensor | None = None,
    batch: int | None = None,
    progress: Progress = silent,
    **cond: Tensor,
) -> Bound:
    """KL(q(x_T | x_0), p(x_T)) + sum KL(q(x_s | x_t, x_0), p(x_s | x_t)) - log p(x_0 | x_1), in expectation over q.

    x_0: (batch, *shape), encoded values, int64 tokens, or a dictionary of the parts of a `Product`, whose bound is that
    of all parts together, and of independent parts the sum of theirs. times: from noise down, in [0, 1]; a 0 is
    appended where there is none, and the last step to it is the reconstruction. Default: the schedule's own table, else
    1000 steps, even in log-SNR down to a noise of a quarter of the distance between levels (tokens: in t).
    decoder: the data are levels, or numbers in `Bins`, and the reconstruction is the probability of one; None: a
    density of values.
    variance: of p, as in Ancestral. In the reconstruction "posterior" and "beta" take the posterior's variance of the
    step before on a table, as DDPM's code does, else sigma^2 / alpha^2.
    last: what the last step p(x_0 | x_1) is: the denoiser's guess, or "kernel", the forward kernel q(x_1 | x_0) taken
    backwards, as in arXiv:1503.03585, app. A. Where the kernel leaves the data's law as it is (values of mean 0 and
    variance 1, tokens with the noise's frequencies) that is the bound K = -sum KL + H(x_T|x_0) - H(x_1|x_0) - H(x_T)
    there, which has no model of the last step, and costs -sum log q(x_1 | x_0) in its place: figures of the two
    conventions do not compare.
    draws: noises for each datum and step. subset: look at so many steps of each datum, drawn with `chances` (default
    even), each counted 1/chance: unbiased, cheaper, noisier.
    Datum i depends on (seed, indices[i]) only. cond: tensors (batch, ...).
    Source: arXiv:2006.11239, eq. 5; arXiv:2107.03006, eq. 1 for tokens.
    Raises Refused for guided denoisers, consistency functions, a guess without a variance where it is needed, times
    that do not fall, data outside the decoder's range, and a kernel that cannot lead back to the data.
    """
    x_0, process = data(denoiser, x_0, decoder), denoiser.process
    grid = _grid(denoiser, times, decoder)
    n, rebuild = len(grid) - 2, ending(last)
    if draws < 1:
        raise Refused(f"a bound needs at least 1 draw of noise, not {draws}")
    picks = _Picks(n, subset, chances)
    total, done = len(first(x_0)) * draws * (picks.count + 1), 0
    found: list[tuple[Tensor, ...]] = []
    for _, x, random, conditions in parts(x_0, seed, indices, batch, cond):
        end = prior(process, x, grid[0])
        count = len(end)
        runs: list[Tensor] = []
        for draw in range(draws):
            terms = torch.zeros(count, n + 1, dtype=torch.float64, device=end.device)
            stream = random.fold(draw)
            for pick, (which, weight) in enumerate(picks(stream.fold(-1), count)):
                s, t = grid[which + 1], grid[which]
                x_t = process.marginal(x, t).sample(stream.fold(pick))
                kl = step(process, x, x_t, denoiser(x_t, t, **conditions), s, t, variance)
                where = torch.as_tensor(which).expand(count)[:, None].to(end.device)
                terms.scatter_add_(1, where, (kl.double() * weight)[:, None])
                done += count
                progress(done, total)
            x_t = process.marginal(x, grid[-2]).sample(stream.fold(-2))
            guess = denoiser(x_t, grid[-2], **conditions)
            terms[:, n] = -rebuild(process, x, x_t, guess, grid, variance, decoder)
            done += count
            progress(done, total)
            runs.append(terms)
        terms = torch.stack(runs)  # (draws, batch, n + 1)
        error = terms.sum(2).std(0) / draws**0.5 if draws > 1 else torch.full_like(end, torch.nan)
        found.append((end, terms.mean(0)[:, :n], terms.mean(0)[:, n], error))
    return joined(found, grid[:-1], x_0, decoder, denoiser, last)


@dataclass(frozen=True)
class _Picks:
    """Which steps each datum looks at, and how much each counts."""

    n: int
    subset: int | None
    chances: Tensor | None

    def __post_init__(self) -> None:
        if self.subset is not None and self.subset < 1:
            raise Refused(f"a subset needs at least 1 step, not {self.subset}")
        if self.chances is not None:
            if self.subset is None:
                raise Refused("chances are for a subset of the steps: say how many with subset")
            if self.chances.shape != (self.n,) or not bool((self.chances > 0).all()):
                raise Refused(f"chances must be {self.n} positive numbers, one for each step")

    @property
    def count(self) -> int:
        return self.n if self.subset is None or self.n == 0 else self.subset

    def __call__(self, random: Random, rows: int) -> Iterator[tuple[Any, Tensor | float]]:
        if self.subset is None or self.n == 0:
            yield from ((i, 1.0) for i in range(self.n))
            return
        p = torch.ones(self.n, dtype=torch.float64) if self.chances is None else self.chances.double().cpu()
        p = p / p.sum()
        for k in range(self.subset):  # stratified: the k-th pick lies in the k-th part of [0, 1]
            u = (k + random.fold(k).uniform((rows,))) / self.subset
            which = torch.searchsorted(p.cumsum(0), u).clamp(max=self.n - 1)
            yield which, 1 / (self.subset * p[which])


def _grid(denoiser: Denoiser, times: Tensor | None, decoder: Decoder | Bins | None) -> Tensor:
    """The times down to 0; raises Refused unless they fall.

    Below a quarter of the distance between levels noise hides nothing of them: steps there only cost, where the network
    does not know the levels.
    """
    schedule = denoiser.process.schedule
    if times is None and (schedule.steps > 0 or has_tokens(denoiser)):
        return Even()(schedule, schedule.steps or 1000)
    if times is None:
        quarter = 0.0 if decoder is None else decoder.width / 4
        log_snr = -2 * torch.tensor(quarter, dtype=torch.float64).clamp(min=1e-9).log()
        return LogSNR(t_min=max(1e-4, float(schedule.time(log_snr))))(schedule, 1000)
    grid = torch.as_tensor(times, dtype=torch.float64, device="cpu")
    if grid.ndim == 1 and len(grid) and float(grid[-1]) > 0:
        grid = torch.cat([grid, torch.zeros(1, dtype=torch.float64)])
    falls = grid.ndim == 1 and len(grid) > 1 and bool((grid.diff() < 0).all())
    if not falls or not 0 <= float(grid[-1]) < float(grid[0]) <= 1:
        raise Refused("the times of a bound must fall strictly inside [0, 1], from noise (1) to data (0)")
    return grid
