"""The probability-flow ODE as a rotation from data to noise, with the divergence that a density needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.ode import UnsolvedError, rms, solve
from undiffuse.core.probability_flow import angle, radius, velocity
from undiffuse.core.random import Random
from undiffuse.core.schedule import as_time

Trace = Literal["exact", "rademacher", "gaussian", "sphere"]
STEPS = 100_000  # of the solver, where it gives up


@dataclass(frozen=True)
class Path:
    """dz/da for z = x_t / sqrt(alpha^2 + sigma^2) and the angle a = atan(sigma / alpha), see `velocity`.

    t_min, start: where it ends, near data and at noise. rtol, atol: tolerances on each sample's z and on its
    log-density per dimension, which decide on its own steps.
    """

    denoiser: Denoiser
    t_min: float
    start: float
    rtol: float
    atol: float

    def __post_init__(self) -> None:
        if not 0 < self.t_min < self.start <= 1:
            raise Refused(f"an ODE runs between 0 < t_min < start <= 1, not t_min = {self.t_min} and {self.start}")
        if not (self.rtol > 0 and self.atol > 0):
            raise Refused(f"tolerances are above 0, not rtol = {self.rtol:g} and atol = {self.atol:g}")

    @property
    def ends(self) -> tuple[float, float]:
        """The angles at t_min and at the start."""
        schedule = self.denoiser.process.schedule
        return angle(schedule, as_time(self.t_min)), angle(schedule, as_time(self.start))

    @property
    def sizes(self) -> tuple[float, float]:
        """sqrt(alpha^2 + sigma^2) at t_min and at the start."""
        schedule = self.denoiser.process.schedule
        return float(radius(schedule, as_time(self.t_min))), float(radius(schedule, as_time(self.start)))

    def solve(
        self,
        z: Tensor,
        cond: dict[str, Tensor],
        probes: Tensor | None = None,
        exact: bool = False,
        back: bool = False,
        moved: Callable[[float], None] = lambda share: None,
    ) -> tuple[Tensor, Tensor, float]:
        """z at the other end, the integrals of div(dz/da) by probe (batch, probes), and how often the guess was asked
        about a sample on average.

        probes: (batch, probes, elements) of unit covariance; exact: the trace itself, as one probe. back: from noise.
        moved hears the share of the way that is done. Raises Refused if the solver finds no step that is small enough.
        """
        n, elements, asked = len(z), z[0].numel(), 0
        probes = None if exact else probes
        columns = 1 if exact else 0 if probes is None else probes.shape[1]

        def slope(state: Tensor, angles: Tensor, rows: Tensor) -> Tensor:
            nonlocal asked
            asked += len(rows)
            at, which = state[:, :elements].reshape(len(rows), *z.shape[1:]), rows.to(z.device)
            conditions = {name: value[which] for name, value in cond.items()}
            if columns == 0:
                return self.velocity(at, angles, conditions).flatten(1)
            with torch.enable_grad():
                at = at.detach().requires_grad_()
                v = self.velocity(at, angles, conditions)
                div = _trace(v, at) if probes is None else _quadratic(v, at, probes[which])
            return torch.cat([v.detach().flatten(1), div / elements], dim=1)

        state = torch.cat([z.flatten(1), torch.zeros(n, columns, dtype=z.dtype, device=z.device)], dim=1)
        ends = self.ends[::-1] if back else self.ends
        norm = _Norm(elements)
        try:
            end = solve(slope, state, *ends, rtol=self.rtol, atol=self.atol, most=STEPS, norm=norm, moved=moved)
        except UnsolvedError as error:
            raise Refused(
                f"the ODE cannot be solved to rtol = {self.rtol:g}, atol = {self.atol:g} ({error}): "
                "allow larger ones, or a larger t_min"
            ) from None
        return end[:, :elements].reshape(z.shape), end[:, elements:] * elements, asked / n

    def velocity(self, z: Tensor, angles: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """dz/da at an angle for each sample, in z's shape; angles: (batch,), float64 on the CPU."""
        return velocity(self.denoiser, z, angles, cond, self.t_min, self.start)


def draw_probes(kind: str, count: int, like: Tensor, random: Random) -> Tensor:
    """`count` random vectors v for each sample of `like` with E[v v^T] = 1: (batch, count, elements).

    rademacher: signs, exact for a diagonal Jacobian. gaussian: standard normal. sphere: uniform of length
    sqrt(elements). Raises Refused for another kind and for none.
    """
    if kind not in _PROBES:
        raise Refused(f"no trace is called {kind!r}; there are: exact, {', '.join(_PROBES)}")
    if count < 1:
        raise Refused(f"an estimated trace needs at least 1 probe, not {count}")
    return _PROBES[kind](random, (len(like), count, like[0].numel()), like.device)


def _rademacher(random: Random, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return 2 * random.integers(2, shape, device).double() - 1


def _gaussian(random: Random, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return random.normal(shape, torch.float64, device)


def _sphere(random: Random, shape: tuple[int, ...], device: torch.device) -> Tensor:
    v = _gaussian(random, shape, device)
    return v * (shape[-1] ** 0.5 / v.norm(dim=-1, keepdim=True))


_PROBES: dict[str, Callable[[Random, tuple[int, ...], torch.device], Tensor]] = {
    "rademacher": _rademacher,
    "gaussian": _gaussian,
    "sphere": _sphere,
}


@dataclass(frozen=True)
class _Norm:
    """A sample's: the root mean square of its numbers, or its log-density's error if that is larger, (batch,)."""

    elements: int

    def __call__(self, error: Tensor) -> Tensor:
        values, rest = rms(error[:, : self.elements]), error[:, self.elements :]
        return torch.maximum(values, rest.abs().amax(1)) if rest.shape[1] else values


def _trace(v: Tensor, z: Tensor) -> Tensor:
    """The divergence of v by one derivative an element: (batch, 1)."""
    flat, total = v.flatten(1), torch.zeros(len(z), 1, dtype=z.dtype, device=z.device)
    for i in range(flat.shape[1]):
        (row,) = torch.autograd.grad(flat[:, i].sum(), z, retain_graph=i + 1 < flat.shape[1])
        total += row.flatten(1)[:, i : i + 1]
    return total


def _quadratic(v: Tensor, z: Tensor, probes: Tensor) -> Tensor:
    """e^T (dv/dz) e for each probe e: (batch, probes)."""
    flat, found = v.flatten(1), list[Tensor]()
    for k in range(probes.shape[1]):
        e = probes[:, k]
        (row,) = torch.autograd.grad((flat * e).sum(), z, retain_graph=k + 1 < probes.shape[1])
        found.append((row.flatten(1) * e).sum(1))
    return torch.stack(found, dim=1)
