"""Objectives with more than a loss: a teacher that is replaced, a critic, losses over the whole batch."""

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tiny_autoencoder
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from undiffuse import Train, Training
from undiffuse.bottlenecks.vq import VQBottleneck
from undiffuse.codecs.identity import Identity
from undiffuse.core import registry
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.denoiser import Predictor
from undiffuse.core.image_text_pair import ImageTextPair
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.jumps import conditions
from undiffuse.core.objective import Batch, Objective, Player
from undiffuse.core.optimiser import Optimiser
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.networks.dit import DiT
from undiffuse.networks.lora import adapt
from undiffuse.networks.mlp_autoencoder import MLPAutoencoder
from undiffuse.networks.mlp_classifier import MLPClassifier
from undiffuse.networks.text_transformer import TextTransformer
from undiffuse.networks.unet import UNet
from undiffuse.objectives.autoencoding import Autoencoding
from undiffuse.objectives.consistency import ConsistencyObjective
from undiffuse.objectives.contrastive import Contrastive as PairObjective
from undiffuse.objectives.distribution_matching import DistributionMatching
from undiffuse.objectives.mean_flow import MeanFlow
from undiffuse.objectives.progressive import Progressive as ProgressiveObjective
from undiffuse.optimisers.by_name import optimiser
from undiffuse.parameterizations.edm import EDMParameterization
from undiffuse.schedules.edm import EDMSchedule
from undiffuse.schedules.flow import FlowSchedule
from undiffuse.time_distributions.uniform import Uniform
from undiffuse.training.batches import Batches


@dataclass(frozen=True, eq=False)
class Progressive(Objective):
    """loss = |model(x + noise) - teacher(x + noise)|^2, and every `phase` steps the model becomes the teacher."""

    teacher: nn.Module
    phase: int = 3

    @cached_property
    def phases(self) -> Tensor:
        return torch.zeros((), dtype=torch.int64)

    def loss(self, model: Any, batch: Batch, random: Any, step: int = 0, player: str = "run") -> Tensor:
        x = batch.x + random.normal(tuple(batch.x.shape)) / (1 + self.phases)
        with torch.no_grad():
            target = self.teacher(x) / 2
        return (model(x) - target).square().mean(1)

    def after(self, model: nn.Module, step: int) -> None:
        if step % self.phase == 0:
            self.teacher.load_state_dict(model.state_dict())
            self.phases.add_(1)

    def state(self) -> dict[str, Tensor]:
        return {"phases": self.phases, **{f"teacher.{k}": v for k, v in self.teacher.state_dict().items()}}

    def initial(self) -> nn.Module:
        return self.teacher


@dataclass(frozen=True, eq=False)
class Critic(Objective):
    """The model moves points to where a critic, which learns to tell them from data, takes them for data."""

    updates: int = 1

    @cached_property
    def critic(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))

    def players(self, model: nn.Module) -> tuple[Player, ...]:
        own = optimiser({"name": "sgd", "momentum": 0.9})
        critic = Player("critic", (self.critic,), own, every=2, clip=0.5, lr=0.05, updates=self.updates)
        return (Player("run", (model,)), critic)

    def loss(self, model: Any, batch: Batch, random: Any, step: int = 0, player: str = "run") -> Tensor:
        made = model(random.normal(tuple(batch.x.shape)))
        if player == "run":
            return nn.functional.softplus(-self.critic(made))[:, 0]
        judged = nn.functional.softplus(-self.critic(batch.x)) + nn.functional.softplus(self.critic(made))
        return judged[:, 0]


@dataclass(frozen=True)
class Contrastive(Objective):
    """loss = -log softmax over the batch of what two noisy views of an item have in common."""

    whole_batch: ClassVar[bool] = True

    def loss(self, model: Any, batch: Batch, random: Any, step: int = 0, player: str = "run") -> Tensor:
        shape = tuple(batch.x.shape)
        one, other = (model(batch.x + 0.1 * random.fold(i).normal(shape)) for i in range(2))
        return nn.functional.cross_entropy(one @ other.T, torch.arange(len(one)), reduction="none")


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def objective(name: str) -> Objective:
    return {
        "progressive": lambda: Progressive(copy.deepcopy(net())),
        "critic": Critic,
        "eager critic": lambda: Critic(updates=3),
        "contrastive": Contrastive,
    }[name]()


def training(name: str, folder: Path, moves: Optimiser | None = None, **settings: Any) -> Training[nn.Module]:
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    chosen = Train(**({"steps": 8, "batch": 16, "lr": 0.01, "warmup": 2, "log_every": 1, "snapshots": 0} | settings))
    return Training(net(), objective(name), TensorDataset(points), chosen, optimiser=moves, folder=folder)


def adapting(folder: Path) -> Training[nn.Module]:
    """A contrastive loss of which A and B beside frozen layers are trained."""
    module, points = net(), torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    adapt(module, ["0", "3"], rank=2, alpha=2.0)
    chosen = Train(steps=4, batch=16, lr=0.01, warmup=0, log_every=1, snapshots=0)
    return Training(module, Contrastive(), TensorDataset(points), chosen, folder=folder)


def reconstructing(folder: Path) -> Training[Any]:
    """An autoencoder with every registered loss, the whole batch's among them."""
    chosen = Train(steps=3, batch=4, lr=0.01, warmup=0, log_every=1, snapshots=0, precision="float32")
    terms = [tiny_autoencoder.fresh(name) for name in sorted(registry.names("losses"), key="patch_gan".__eq__)]
    data = TensorDataset(tiny_autoencoder.IMAGES)
    return Training(tiny_autoencoder.autoencoder(), Autoencoding(tuple(terms)), data, chosen, folder=folder)


def denoiser(
    width: int = 4, jumps: Any = "none", seed: int = 0, schedule: Any = None, dropout: float = 0.0
) -> Predictor:
    """A U-Net for images (1, 4, 4) whose last layer is no longer zero."""
    torch.manual_seed(seed)
    network = UNet(channels=1, width=width, multipliers=(1,), blocks=1, attention=(), dropout=dropout)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return Predictor(network, Gaussian(schedule or EDMSchedule()), "edm", jumps)


def matching(folder: Path, moves: str = "adamw", **settings: Any) -> Training[Any]:
    """A student of two steps with a fake denoiser and a head. moves: the optimiser of all."""
    chosen: dict[str, Any] = {"batch": 4, "lr": 0.01, "warmup": 0, "snapshots": 0, "precision": "float32"} | settings
    teacher = denoiser(seed=1).eval().requires_grad_(False)
    objective = DistributionMatching(teacher, steps=2, updates=2, gan_weight=0.1, critic_gan_weight=1.0, gan_start=1)
    data = TensorDataset(Random(0).normal((20, 1, 4, 4)))
    torch.manual_seed(0)
    given = {"optimiser": optimiser({"name": moves}), "folder": folder}
    return Training(denoiser(jumps="data"), objective, data, Train(4, log_every=1, **chosen), **given)


def consistent(folder: Path, moves: str = "adamw", dropout: float = 0.0, **settings: Any) -> Training[Any]:
    """A consistency model by a teacher's steps, with an averaged target and more levels on the way."""
    chosen: dict[str, Any] = {"batch": 4, "lr": 0.01, "warmup": 0, "snapshots": 0, "precision": "float32"} | settings
    teacher = denoiser(seed=1, dropout=dropout).eval().requires_grad_(False)
    data = TensorDataset(Random(0).normal((20, 1, 4, 4)))
    torch.manual_seed(0)
    given = {"optimiser": optimiser({"name": moves}), "folder": folder}
    model, objective = denoiser(jumps="data", dropout=dropout), ConsistencyObjective(teacher, first=3, last=9)
    return Training(model, objective, data, Train(4, log_every=1, **chosen), **given)


def jumping(folder: Path, moves: str = "adamw", **settings: Any) -> Training[Any]:
    """A flow map with attention, by derivatives in forward mode."""
    chosen: dict[str, Any] = {"batch": 4, "lr": 0.01, "warmup": 0, "snapshots": 0, "precision": "float32"} | settings
    torch.manual_seed(3)
    told = conditions("any", None)
    network = DiT(1, shape=(1, 4, 4), patch=2, width=8, depth=1, heads=2, time_scale=0.02, conditions=told)
    for weight in network.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    model = Predictor(network, Gaussian(FlowSchedule()), "flow", "any")
    data = TensorDataset(Random(0).normal((20, 1, 4, 4)))
    given = {"optimiser": optimiser({"name": moves}), "folder": folder}
    return Training(model, MeanFlow(power=0.0), data, Train(4, log_every=1, **chosen), **given)


def halving(folder: Path, moves: str = "adamw", **settings: Any) -> Training[Any]:
    """A student of two steps, and then of one, that was its own teacher in between."""
    chosen: dict[str, Any] = {"batch": 4, "lr": 0.01, "warmup": 0, "snapshots": 0, "precision": "float32"} | settings
    teacher = denoiser(seed=1).eval().requires_grad_(False)
    data = TensorDataset(Random(0).normal((20, 1, 4, 4)))
    torch.manual_seed(0)
    given = {"optimiser": optimiser({"name": moves}), "folder": folder}
    model, objective = denoiser(jumps="fixed"), ProgressiveObjective(teacher, 2, 1)
    return Training(model, objective, data, Train(4, log_every=1, **chosen), **given)


def quantising(folder: Path, steps: int = 3, dead_below: float = 0.0, **settings: Any) -> Training[Any]:
    """An autoencoder with a codebook of averages, whose codes are alive before the first step."""
    chosen: dict[str, Any] = {"batch": 8, "lr": 0.01, "warmup": 0, "snapshots": 0, "precision": "float32"} | settings
    torch.manual_seed(0)
    vq = VQBottleneck(2, 4, decay=0.5, dead_below=dead_below)
    vq.count.fill_(1.0)
    vq.total.copy_(vq.codebook)
    model = Autoencoder(MLPAutoencoder(shape=(2,), width=4), vq)
    data = TensorDataset(Random(0).normal((20, 2)))
    return Training(model, Autoencoding(penalty_weight=1.0), data, Train(steps, **chosen), folder=folder)


def pairing(folder: Path, moves: str = "adamw") -> Training[Any]:
    """A pair of encoders of noisy points and of texts of three bytes."""
    torch.manual_seed(4)
    reader = MLPClassifier(shape=(2,), classes=4, width=8)
    model = ImageTextPair(
        ItemPredictor(reader, Gaussian(EDMSchedule()), EDMParameterization()), TextTransformer((3,), 8, 1), 4, 8
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    words = Random(1).integers(256, (20, 3)) + 1
    batches = Batches.of(Random(0).normal((20, 2)).numpy(), {"text": words}, Identity(), 8, 0)
    chosen = Train(4, batch=8, lr=0.01, warmup=0, snapshots=0, log_every=1, precision="float32")
    given = {"optimiser": optimiser({"name": moves}), "folder": folder}
    return Training(model, PairObjective(noisy=True, times=Uniform()), batches, chosen, **given)
