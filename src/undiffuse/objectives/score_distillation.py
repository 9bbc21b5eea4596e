"""Score distillation: a frozen denoiser says how the pictures of a scene should change."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from undiffuse.core import families
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.families import VALUES
from undiffuse.core.objective import RUN, Batch, Objective, Player
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import on_table
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.fake_denoiser import fake_denoiser
from undiffuse.objectives.timed import Timed
from undiffuse.rendering.scene_module import SceneModule
from undiffuse.time_distributions.karras import KarrasTimeDistribution

FAKE = "fake"  # the player that learns to denoise what the scene shows
Method = Literal["sds", "vsd", "sdi"]
FLOOR = 0.01  # of the squared opacity, arXiv:2209.14988, app. A.2


@dataclass(frozen=True)
class ScoreDistillation(Objective):
    """loss = |x - stopgrad(x - g)|^2 / (2 d)  for pictures x of d numbers that a scene shows: d loss / dx = g / d.

    With x_t = alpha x + sigma noise, where alpha^2 + sigma^2 = 1, and D the prior's guess,
        "sds"  g = alpha sigma (x - D(x_t)), that is sigma^2 (its guess of the noise - the noise),
        "vsd"  g = alpha sigma (D_fake(x_t) - D(x_t)), where a fake denoiser, at first the prior, learns the pictures,
        "sdi"  the first, with the noise that `inversion` steps of DDIM find in x in place of drawn noise, by the prior
               with the opposite guidance: with the same, the noise leads back to x, whatever x is.
    The first draws x to a mode of the prior, so that all pictures become alike; the second leaves them as different as
    samples; the third has no noise that changes from step to step, and so keeps details.

    low, high: between which angles 2/pi atan(sigma/alpha) a noise level is drawn, evenly; high falls over training to
    last_high. critic: the loss of the fake denoiser, fake_lr: its learning rate, 0: the run's. Weights of what else is
    lowered: opacity, the mean over rays of sqrt(opacity^2 + 0.01); orientation, see `Rendering.turned_away`; roughness,
    see `Renderable.roughness`.
    Raises Refused for levels out of order, negative weights and other processes than of values.
    Source: arXiv:2209.14988, eq. 3 and app. A.2; 2305.16213, eq. 9; 2405.15891, sec. 4.
    """

    families: ClassVar[frozenset[str]] = VALUES
    predicts: ClassVar[str] = "scene"
    trains: ClassVar[type] = SceneModule

    method: Method = "sds"
    low: float = 0.02
    high: float = 0.98
    last_high: float = 0.5
    inversion: int = 5
    critic: Timed = field(default_factory=lambda: Denoising("edm", KarrasTimeDistribution()))
    fake_lr: float = 1e-4
    opacity: float = 0.0
    orientation: float = 0.0
    roughness: float = 0.0
    _made: nn.ModuleDict = field(default_factory=nn.ModuleDict, init=False, repr=False, compare=False)
    _steps: list[int] = field(default_factory=list[int], init=False, repr=False, compare=False)

    aliases: ClassVar[dict[str, dict[str, str]]] = {
        "sds": {"method": "sds"},
        "vsd": {"method": "vsd"},
        "sdi": {"method": "sdi"},
    }

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise unknown("the method of score_distillation", self.method, get_args(Method))
        if not 0 < self.low < self.last_high <= self.high < 1 or self.inversion < 1:
            raise Refused(
                "score_distillation needs 0 < low < last_high <= high < 1 and an inversion of 1 or more steps, not "
                f"{self.low:g}, {self.last_high:g}, {self.high:g} and {self.inversion}"
            )
        for name in ("fake_lr", "opacity", "orientation", "roughness"):
            if not 0 <= getattr(self, name) < math.inf:
                raise Refused(f"score_distillation needs {name} of 0 or more, not {getattr(self, name):g}")

    def begin(self, model: Any, steps: int) -> None:
        families.check(self, model.prior.denoiser.process)
        self._steps[:] = [steps]

    def players(self, model: Any) -> tuple[Player, ...]:
        if self.method != "vsd":
            return (Player(RUN, (model,)),)
        return (Player(RUN, (model,)), Player(FAKE, (self.fake(model.prior.denoiser),), lr=self.fake_lr or None))

    def to(self, device: torch.device) -> None:
        self._made.to(device)

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        """The loss of each view that `player` lowers, (batch,). batch: cameras."""
        cameras, cond = batch.x, model.prior.conditions(batch.x)
        with torch.set_grad_enabled(player == RUN and torch.is_grad_enabled()):
            seen = model(cameras, random.fold(0), normals=self.orientation > 0)
        x = seen.pictures
        if player == FAKE:
            return self.critic.loss(self.fake(model.prior.denoiser), Batch(x.detach(), cond), random.fold(1))
        with torch.no_grad():
            angle = self.angles(random.fold(2), len(x), step)
            g = self.gradient(model.prior, x, angle, random.fold(3), cond)
        loss = (x - (x - g).detach()).square().flatten(1).mean(1) / 2
        if self.opacity and seen.opacity is not None:
            loss = loss + self.opacity * (seen.opacity.square() + FLOOR).sqrt().mean(1)
        if self.orientation and seen.turned_away is not None:
            loss = loss + self.orientation * seen.turned_away
        return loss + self.roughness * model.renderable.roughness() if self.roughness else loss

    def angles(self, random: Random, count: int, step: int = 0) -> Tensor:
        """Drawn noise levels as angles 2/pi atan(sigma/alpha), (count,) float64."""
        done = min(step / self._steps[0], 1.0) if self._steps else 0.0
        high = self.high + done * (self.last_high - self.high)
        return self.low + (high - self.low) * random.uniform((count,))

    def gradient(self, prior: Any, x: Tensor, angle: Tensor, random: Random, cond: dict[str, Any]) -> Tensor:
        """g of pictures x at these noise levels (batch,), in x's shape. prior: see `SceneModule`."""
        process: Any = prior.denoiser.process
        t = at_angle(process.schedule, angle)
        x_t = inverted(prior.inverse, x, angle, self.inversion, self.low, cond) if self.method == "sdi" else None
        x_t = process.marginal(x, t).sample(random) if x_t is None else x_t
        real: Any = prior.denoiser(x_t, t, **cond)
        made: Any = self.fake(prior.denoiser)(x_t, t, **cond).mean if self.method == "vsd" else x
        alpha, sigma = process.schedule.at(t, x)
        return (alpha * sigma / (alpha**2 + sigma**2)).to(x) * (made - real.mean)

    def fake(self, prior: Denoiser) -> Predictor:
        """The fake denoiser; made when it is first asked for."""
        if FAKE not in self._made:
            self._made[FAKE] = fake_denoiser(prior, "score_distillation: method 'vsd'", "method 'sds'")
        return self._made[FAKE]  # pyright: ignore[reportReturnType]


def at_angle(schedule: Schedule, angle: Tensor) -> Tensor:
    """The times at which 2/pi atan(sigma/alpha) is this, on a table the next noisier one's."""
    return on_table(schedule.time(-2 * torch.tan(angle * (math.pi / 2)).log()), schedule, 0.0).clamp(min=1e-9)


def inverted(prior: Denoiser, x: Tensor, angle: Tensor, steps: int, low: float, cond: dict[str, Any]) -> Tensor:
    """x_t at these noise levels (batch,), where so many steps of DDIM against its direction lead, from clean x:
    x_s = alpha_s D(x_t) + sigma_s (x_t - alpha_t D(x_t)) / sigma_t, s > t, even in the angle from `low` on.
    """
    process: Any = prior.process
    levels = low + (angle - low) * torch.linspace(0, 1, steps + 1, dtype=angle.dtype)[:, None]  # (steps + 1, batch)
    times = at_angle(process.schedule, levels)
    x_t = process.schedule.at(times[0], x)[0].to(x) * x
    for t, s in pairwise(times):
        guess: Any = prior(x_t, t, **cond)
        (alpha, sigma), (later, noisier) = process.schedule.at(t, x), process.schedule.at(s, x)
        keep = noisier / sigma
        x_t = (keep * x_t + (later - keep * alpha) * guess.mean).to(x)
    return x_t
