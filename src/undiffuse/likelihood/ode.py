"""The exact log-density by the probability-flow ODE, and the latent code that it gives to data."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core import devices
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.likelihood.bound import DENSITY, LEVELS
from undiffuse.likelihood.path import Path, Trace, draw_probes
from undiffuse.likelihood.question import BITS, Progress, checked, error_of_mean, has_tokens, parts, silent

FEW = 16  # elements up to which the trace is exact, where nobody says


@dataclass(frozen=True, eq=False)
class Density:
    """log p(x_0) in nats of each datum, (batch,), in float64 on the CPU.

    probe_error: the standard error that the estimated trace leaves, 0 for an exact one, nan for one probe.
    draw_error: that of the dequantisation's draws, nan for one draw and without a decoder.
    dequantisation: what spreading levels over their bins costs, log(mean p) - mean(log p) >= 0 over the draws, which is
    less than the whole cost; 0 for one draw and without a decoder.
    calls: how often the guess was asked, on average. elements: the numbers of one datum.
    convention: DENSITY, or LEVELS: then log_prob bounds the log-probability of the levels from below, in expectation.
    """

    log_prob: Tensor
    probe_error: Tensor
    draw_error: Tensor
    dequantisation: Tensor
    calls: float
    elements: int
    convention: str

    @property
    def bits_per_dim(self) -> Tensor:
        """-log_prob / (log 2 * elements), (batch,)."""
        return -self.log_prob * (BITS / self.elements)

    @property
    def mean(self) -> tuple[float, float]:
        """Bits per dimension over the data, and its standard error."""
        return float(self.bits_per_dim.mean()), error_of_mean(self.bits_per_dim)


@dataclass(frozen=True, eq=False)
class Code:
    """latent and decoded: (batch, *shape); error: the root mean square of decoded - x_0, (batch,)."""

    latent: Tensor
    decoded: Tensor
    error: Tensor


@devices.on_cpu()
@torch.no_grad()
def ode(
    denoiser: Denoiser,
    x_0: Tensor,
    *,
    trace: Trace | None = None,
    probes: int = 1,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    start: float = 1.0,
    decoder: Decoder | None = None,
    draws: int = 1,
    seed: int = 0,
    indices: Tensor | None = None,
    batch: int | None = None,
    progress: Progress = silent,
    **cond: Tensor,
) -> Density:
    """log p(x_0) = log prior(x_start) + the integral of the velocity's divergence along the path from x_0.

    x_0: (batch, *shape), encoded. The prior is the process's at t = start (below 1 where alpha(1) = 0 and noise is what
    the network predicts). The density is q(x_t)'s at t_min: of alpha x_0 with noise of std sigma; by default the
    table's first step, else 1e-5, as in the paper's code.
    trace: "exact", one derivative an element (default up to 16); else estimated from so many `probes`, "rademacher"
    (default beyond), "gaussian" or "sphere", the same along the whole path.
    decoder: x_0 are levels, each spread evenly over its bin, in `draws` draws; the result bounds their log-probability.
    rtol, atol: of the solver, in each datum's own terms: the batch matters within them only.
    Datum i depends on (seed, indices[i]) only. cond: tensors (batch, ...).
    Source: arXiv:2011.13456, eq. 39 and 40.
    Raises Refused for tokens, guided denoisers, consistency functions, noise prediction where alpha(start) = 0, data
    outside the decoder's range, and tolerances that cannot be met.
    """
    if draws < 1:
        raise Refused(f"dequantisation needs at least 1 draw, not {draws}")
    if draws > 1 and decoder is None:
        raise Refused("several draws are for levels: give a decoder, or take 1")
    x_0, path = _ready(denoiser, x_0, t_min, start, rtol, atol, cond)
    x_0 = x_0 if decoder is None else decoder.check(x_0)
    elements = x_0[0].numel()
    kind = trace or ("exact" if elements <= FEW else "rademacher")
    (near, far), done, asked = path.sizes, 0, 0
    prior_std = float(denoiser.process.schedule.prior_std(torch.tensor(start, dtype=torch.float64)))
    volume = elements * (math.log(far / near) + (math.log(decoder.width) if decoder else 0.0))
    found: list[Tensor] = []
    for _, x, random, conditions in parts(x_0, seed, indices, batch, cond):
        runs: list[Tensor] = []
        for draw in range(draws):
            values = decoder.dequantise(x, random.fold(draw, 0)) if decoder else x
            vectors = None if kind == "exact" else draw_probes(kind, probes, x, random.fold(draw, 1))
            moved = _share(progress, done, len(x), len(x_0) * draws)
            z, spread, calls = path.solve(values / near, conditions, vectors, kind == "exact", moved=moved)
            end = Normal(torch.zeros_like(z), prior_std**2).log_prob(z * far)
            runs.append(end[:, None] + volume + spread)
            asked, done = asked + calls * len(x), done + len(x)
            progress(done, len(x_0) * draws)
        found.append(torch.stack(runs))  # (draws, batch, probes)
    logs = torch.cat(found, dim=1).cpu()
    return _density(logs, kind == "exact", asked / (len(x_0) * draws), elements, LEVELS if decoder else DENSITY)


@devices.on_cpu()
@torch.no_grad()
def encode(
    denoiser: Denoiser,
    x_0: Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    start: float = 1.0,
    batch: int | None = None,
    **cond: Tensor,
) -> Tensor:
    """The latent code x_start that the probability-flow ODE gives to each datum: (batch, *shape), float64 on the CPU.

    Arguments and errors as in `ode`.
    """
    x_0, path = _ready(denoiser, x_0, t_min, start, rtol, atol, cond)
    near, far = path.sizes
    found = [path.solve(x / near, conditions)[0] * far for _, x, _, conditions in parts(x_0, 0, None, batch, cond)]
    return torch.cat(found).cpu()


@devices.on_cpu()
@torch.no_grad()
def decode(
    denoiser: Denoiser,
    latent: Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    t_min: float | None = None,
    start: float = 1.0,
    batch: int | None = None,
    **cond: Tensor,
) -> Tensor:
    """The data of latent codes, `encode` backwards: (batch, *shape), float64 on the CPU."""
    latent, path = _ready(denoiser, latent, t_min, start, rtol, atol, cond)
    near, far = path.sizes
    found = [
        path.solve(x / far, conditions, back=True)[0] * near
        for _, x, _, conditions in parts(latent, 0, None, batch, cond)
    ]
    return torch.cat(found).cpu()


@devices.on_cpu()
def round_trip(denoiser: Denoiser, x_0: Tensor, **options: Tensor | float | int | None) -> Code:
    """The latent codes of data, decoded again, and how far that is from the data; options as in `encode`."""
    latent = encode(denoiser, x_0, **options)  # type: ignore[arg-type]
    decoded = decode(denoiser, latent, **options)  # type: ignore[arg-type]
    return Code(latent, decoded, (decoded - x_0.cpu()).flatten(1).square().mean(1).sqrt())


def _ready(
    denoiser: Denoiser, x: Tensor, t_min: float | None, start: float, rtol: float, atol: float, cond: dict[str, Tensor]
) -> tuple[Tensor, Path]:
    """The data and their path, once the denoiser has answered at the noisy end, where some cannot."""
    x = checked(denoiser, x)
    if has_tokens(denoiser):
        raise Refused("the probability-flow ODE is for values; tokens have the bound, likelihood.elbo")
    if denoiser.process.family == "mixed":
        raise Refused("the probability-flow ODE is for values; rows with categories have the bound, likelihood.elbo")
    steps = denoiser.process.schedule.steps
    first = t_min if t_min is not None else 1 / steps if steps else 1e-5
    path = Path(denoiser, first, start, rtol, atol)
    denoiser(x[:1], start, **{name: value[:1] for name, value in cond.items()})
    return x, path


def _share(progress: Progress, done: int, rows: int, total: int) -> Callable[[float], None]:
    """Progress within one batch: its share of the way counts as that share of its data."""
    furthest = 0.0

    def moved(share: float) -> None:
        nonlocal furthest
        furthest = max(furthest, min(share, 1.0))  # the solver takes steps back
        progress(done + int(rows * furthest), total)

    return moved


def _density(logs: Tensor, exact: bool, calls: float, elements: int, convention: str) -> Density:
    """The result from log p(x_0), (draws, batch, probes)."""
    draws, batch, probes = logs.shape
    unknown = torch.full((batch,), torch.nan, dtype=logs.dtype)
    by_draw = logs.mean(2)
    if exact:
        probe_error = torch.zeros(batch, dtype=logs.dtype)
    else:
        probe_error = logs.mean(0).std(1) / probes**0.5 if probes > 1 else unknown
    draw_error = by_draw.std(0) / draws**0.5 if draws > 1 else unknown
    cost = by_draw.logsumexp(0) - math.log(draws) - by_draw.mean(0)
    return Density(by_draw.mean(0), probe_error, draw_error, cost.clamp(min=0), calls, elements, convention)
