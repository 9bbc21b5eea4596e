"""Distribution matching: a few-step generator whose samples, with noise, are as likely as the teacher's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core import families, registry
from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.families import VALUES
from undiffuse.core.grid import Grid
from undiffuse.core.network import Depth, depth, features
from undiffuse.core.objective import RUN, Batch, Objective, Player
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.fake_denoiser import fake_denoiser
from undiffuse.objectives.teachers import check_process
from undiffuse.objectives.timed import Timed
from undiffuse.samplers.jump import Jump
from undiffuse.time_distributions.karras import KarrasTimeDistribution

FAKE = "fake"  # the player that learns to denoise what the run makes
Method = Literal["dmd", "vsd", "sds"]
SLOWER = 0.15  # a student's learning rate, as a share of its teacher's
TINY = 1e-6  # the least mean |x - D_real| that a gradient is divided by


class RealOrFake(nn.Module):
    """Features (batch, places, width) -> one number for each item, (batch,), large for data: a mean over places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, last = (nn.Linear(width, out, dtype=torch.float32) for out in (width, 1))
        self.layers = nn.Sequential(nn.LayerNorm(width, dtype=torch.float32), first, nn.SiLU(), last)

    def forward(self, seen: Tensor) -> Tensor:
        return self.layers(seen.float()).mean((1, 2))


@dataclass(frozen=True, eq=False)
class DistributionMatching(Objective):
    """loss = |x - stopgrad(x - g)|^2 / (2 d)  for the student's own sample x of d numbers: d loss / dx = g / d.

    With x_t = alpha x + sigma noise at a drawn level, D_real the teacher's guess and D_fake that of the fake denoiser,
    which learns to denoise the student's samples as they change,
        "dmd"  g = (D_fake(x_t) - D_real(x_t)) / mean |x - D_real(x_t)|,
        "vsd"  g = alpha sigma (D_fake(x_t) - D_real(x_t)),
        "sds"  g = alpha sigma (x - D_real(x_t)), without a fake denoiser.
    D_fake - D_real is sigma^2/alpha times the difference of scores, so that the first two lower
    KL(student || teacher) at that level; the third draws samples to the teacher's modes. "dmd" starts from the
    teacher's weights, the others from those that the student has, fresh or of [init].

    teacher: a run, or a table of guidance around one. steps, grid: those of the sampler `jump` with fresh = 1, by which
    samples are drawn; in training up to a step that is drawn for the whole batch, the way there without gradient, so
    that the student sees in training what it sees in sampling. times: levels of the gradient. critic: the loss of the
    fake denoiser. updates: steps of the fake denoiser for each of the student's; fake_lr: its learning rate, 0: the
    run's. A gan_weight above 0 adds gan_weight softplus(-h(x_t)), where h is a head on the fake denoiser's features at
    this depth, see `HasDepths`; it learns from data and samples with noise, with the fake denoiser, on
    critic_gan_weight (softplus(-h(data_t)) + softplus(h(x_t))). gan_start: the first step of both.
    Raises Refused for a model that does not jump, a teacher that takes few steps itself, another process than the
    teacher's, and networks without such features.
    Source: arXiv:2405.14867 (and 2311.18828, eq. 7 and 8; 2305.16213, eq. 9; 2209.14988, eq. 3); the head, a perceptron
    on every place, is smaller than the paper's.
    """

    families: ClassVar[frozenset[str]] = VALUES
    jumps: ClassVar[frozenset[str]] = frozenset({"data"})
    distils: ClassVar[bool] = True
    trains: ClassVar[type] = Denoiser

    teacher: Denoiser
    method: Method = "dmd"
    steps: int = 1
    grid: Grid | None = None
    times: TimeDistribution = field(default_factory=lambda: KarrasTimeDistribution(margin=0.02))
    critic: Timed = field(default_factory=lambda: Denoising("edm", KarrasTimeDistribution()))
    updates: int = 5
    fake_lr: float = 0.0
    gan_weight: float = 0.0
    critic_gan_weight: float = 1e-2
    gan_start: int = 0
    depth: str = "middle"
    _made: nn.ModuleDict = field(default_factory=nn.ModuleDict, init=False, repr=False)

    aliases: ClassVar[tuple[str, ...]] = ("dmd", "dmd2")

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        critic = {"critic": own} if (own := tables["objective"])["name"] == "denoising" else {}
        return {
            "denoiser": {"jumps": "data"},
            "objective": {"name": "distribution_matching", "teacher": teacher, "steps": to, **critic},
            "sampler": {"name": "jump", "fresh": 1.0, "steps": to},
            "train": {"lr": SLOWER * tables["train"].get("lr", 1e-3)},
        }

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise unknown("the method of distribution_matching", self.method, get_args(Method))
        if self.steps < 1 or self.updates < 1 or self.gan_start < 0:
            raise Refused(
                "distribution_matching needs steps and updates of 1 or more and a gan_start of 0 or more, not "
                f"{self.steps}, {self.updates} and {self.gan_start}"
            )
        for name in ("fake_lr", "gan_weight", "critic_gan_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise Refused(f"distribution_matching needs a {name} of 0 or more, not {getattr(self, name):g}")
        if self.gan_weight and self.method == "sds":
            raise Refused("gan_weight reads features of the fake denoiser, and method 'sds' has none: leave it out")

    def players(self, model: Any) -> tuple[Player, ...]:
        if self.method == "sds":
            return (Player(RUN, (model,)),)
        modules = (self.fake, self.head) if self.gan_weight else (self.fake,)
        return (Player(RUN, (model,)), Player(FAKE, modules, updates=self.updates, lr=self.fake_lr or None))

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        """The loss of each item that `player` lowers, (batch,)."""
        self._check(model, batch)
        with torch.set_grad_enabled(player == RUN and torch.is_grad_enabled()):
            x = self.drawn(model, batch, random.fold(0))
        plays = self.gan_weight > 0 and step >= self.gan_start
        if player == FAKE:
            return self._fake_loss(x.detach(), batch, random.fold(1), plays)
        t = self.times(model.process.schedule, random.fold(2), len(batch))
        noise = random.fold(3)
        with torch.no_grad():
            x_t = model.process.marginal(x, t).sample(noise)
            real: Any = self.teacher(x_t, t, **batch.given)
            fake: Any = None if self.method == "sds" else self.fake(x_t, t, **batch.given)
            g = self.gradient(x, real.mean, None if fake is None else fake.mean, *model.process.schedule.at(t, x))
        loss = (x - (x - g).detach()).square().flatten(1).mean(1) / 2
        if not plays:
            return loss
        return loss + self.gan_weight * F.softplus(-self._judged(x, t, batch, noise))

    def sampled(self, process: Any) -> tuple[Sampler, Tensor]:
        grid = self.grid or registry.get("grids", Jump.grid or process.default_grid)()
        return Jump(fresh=1.0), grid(process.schedule, self.steps)

    def drawn(self, model: Any, batch: Batch, random: Random) -> Tensor:
        """The student's samples (batch, *shape) after as many steps as are drawn, of which the last has a gradient."""
        sampler, times = self.sampled(model.process)
        last = int(Random(random.seed).fold(0).integers(len(times) - 1, (1,)))  # the same for all items
        start = model.process.prior((len(batch), *model.state_shape(batch.x.shape)[1:]), times[0])
        x = start.sample(random.fold(-1)).to(model.device or torch.device("cpu"))
        with torch.no_grad():
            way = chain([x], trajectory(model, sampler, x, times, random=random.fold(1), **batch.given))
            x_t = next(islice(way, last, None))
        return model(x_t, times[last], to=0.0, **batch.given).mean

    def gradient(self, x: Tensor, real: Tensor, fake: Tensor | None, alpha: Tensor, sigma: Tensor) -> Tensor:
        """g, in x's shape, from the guesses of the teacher and of the fake denoiser, where there is one."""
        away = (x if fake is None else fake) - real
        if self.method != "dmd":
            return (alpha * sigma).to(x) * away
        size = (x - real).abs().flatten(1).mean(1).clamp(min=TINY)
        return away / column(size, x)

    @property
    def fake(self) -> Predictor:
        """The fake denoiser, at first a copy of the teacher, without dropout; made when it is first asked for."""
        if FAKE not in self._made:
            self._made[FAKE] = fake_denoiser(self.teacher, "distribution_matching", "method 'sds'")
        return self._made[FAKE]  # pyright: ignore[reportReturnType]

    @property
    def head(self) -> nn.Module:
        """What tells data from samples by the fake denoiser's features; made when it is first asked for."""
        if "head" not in self._made:
            self._made["head"] = RealOrFake(self._depth.width).to(self.fake.device)
        return self._made["head"]

    def initial(self) -> nn.Module | None:
        return self.teacher.predictor if self.method == "dmd" else None

    def reference(self, model: Any) -> Denoiser | None:
        return self.teacher

    def _fake_loss(self, x: Tensor, batch: Batch, random: Random, plays: bool) -> Tensor:
        """What the fake denoiser lowers, and where there is a head what both do."""
        loss = self.critic.loss(self.fake, replace(batch, x=x), random.fold(0))
        if not plays:
            return loss
        t = self.critic.times(self.fake.process.schedule, random.fold(1), len(batch))
        real, made = (self._judged(each, t, batch, random.fold(2 + i)) for i, each in enumerate((batch.x, x)))
        return loss + self.critic_gan_weight * (F.softplus(-real) + F.softplus(made))

    def _judged(self, x: Tensor, t: Tensor, batch: Batch, noise: Random) -> Tensor:
        """What the head says of items with noise, (batch,)."""
        with features(self._depth) as seen:
            self.fake(self.fake.process.marginal(x, t).sample(noise), t, **batch.given)
        return self.head(seen[0])

    @property
    def _depth(self) -> Depth:
        return depth(self.fake.network, self.depth, "distribution_matching: the teacher's")

    def _check(self, model: Any, batch: Batch) -> None:
        families.check(self, model.process)
        if batch.mask is not None:
            raise Refused("objective 'distribution_matching' cannot leave padding out: take denoising")
        if model.jumps not in self.jumps:
            raise Refused(
                "distribution_matching trains a model whose guess is its sample: set denoiser.jumps = 'data', not "
                f"{model.jumps!r}"
            )
        if self.teacher.jumps not in ("none", "any"):
            raise Refused(
                f"distribution_matching needs a teacher whose guesses are means of the data, and this one has "
                f"jumps = {self.teacher.jumps!r}: take the run that it was distilled from"
            )
        if model.guidance_input is not None or self.teacher.guidance_input is not None:
            raise Refused(
                "distribution_matching builds one guidance weight into its student: leave denoiser.guidance_input "
                "out, and take a teacher with one weight, as {name = 'classifier_free', denoiser = RUN, weight = 2} "
                "or by `undiffuse distill RUN --guidance 2`"
            )
        check_process(model, self.teacher)
