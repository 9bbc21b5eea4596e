"""What training lowers: the interface of an objective, what it is given, and who takes steps on it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.core.optimiser import Optimiser
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

RUN = "run"  # the player that is the trained module itself


@dataclass(frozen=True, eq=False)
class Batch:
    """Items that are trained on together.

    x: encoded data, (batch, *shape), or a dictionary of named parts. cond: conditions, (batch, ...) each, and `drop`,
    as for `Denoiser`. mask: booleans (batch, ...), true where items of different sizes have data; None: everywhere.
    codec: what encoded them; None: nothing did.
    """

    x: Any
    cond: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mask: Tensor | None = None
    codec: Any = None

    @classmethod
    def of(cls, x: Any, cond: Mapping[str, Any], codec: Any = None) -> Self:
        """Items with their conditions, `mask` among them where items have different sizes."""
        own = {name: value for name, value in cond.items() if name != "mask"}
        return cls(x, own, cond.get("mask"), codec)

    @property
    def given(self) -> dict[str, Any]:
        """What a denoiser is called with: the conditions, and the mask where there is one."""
        return dict(self.cond) if self.mask is None else {**self.cond, "mask": self.mask}

    def __len__(self) -> int:
        x = cast("Tensor | Mapping[str, Tensor]", self.x)
        return len(x if isinstance(x, Tensor) else next(iter(x.values())))


@dataclass(frozen=True, eq=False)
class Player:
    """Whoever takes steps with an optimiser of its own: the trained module ("run"), a critic, a discriminator.

    modules: whose weights it moves. optimiser: a component of the kind "optimisers"; None: the run's. every: steps of
    the loop for one of its own. start: the first step, from 0, in which it may move. clip: largest norm of its
    gradient, 0 = any; None: the run's. lr: its highest learning rate, which warms up and decays as the run's does;
    None: the run's. updates: how many steps it takes each time, on the same items, each with draws of its own; all but
    the last come before anyone else's gradient.
    """

    name: str
    modules: tuple[nn.Module, ...]
    optimiser: Optimiser | None = None
    every: int = 1
    clip: float | None = None
    lr: float | None = None
    start: int = 0
    updates: int = 1


class Objective(ABC):
    """A loss, and whatever else takes part in lowering it. Most have the loss alone; all else has a default.

    whole_batch: the items of a batch depend on one another, as in a contrastive loss: among several processes each
    sees the whole batch, and a batch cannot be computed in parts (train.accumulate).
    timed: its loss can be asked for at given noise levels, see `objectives.timed.Timed`. predicts: what the trained
    module gives, "data" or "label". embeds: it trains embeddings of tokens. families, needs: of processes that it
    trains for, as of a `Sampler`; see `families.check`; inner: one that it is around. jumps: of the denoisers
    that it trains, see `Denoiser`. trains: the class of the modules
    that it can train. of_pixels: the names of its terms that read pictures as pixels in [-1, 1], and no other encoded
    data. distils: whether it is a method of `undiffuse distill`, see `student`.
    """

    whole_batch: ClassVar[bool] = False
    timed: ClassVar[bool] = False
    predicts: ClassVar[str] = "data"
    embeds: ClassVar[bool] = False
    families: ClassVar[frozenset[str]] = ANY
    needs: ClassVar[frozenset[str]] = frozenset()
    jumps: ClassVar[frozenset[str]] = frozenset({"none"})
    inner: "Objective | None" = None
    trains: ClassVar[type] = nn.Module
    distils: ClassVar[bool] = False
    of_pixels: tuple[str, ...] = ()

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        """Of one that distils: the tables [objective], [sampler] and [denoiser] of a recipe whose model takes `to`
        steps where a run takes many; fields of [train], and [init], where it needs such.

        tables: the run's recipe. run: its folder. teacher: what a field `teacher` names: the folder, or a table of
        guidance around it. Raises Refused for steps that it cannot do.
        """
        raise Refused(f"{cls.__name__} makes no student of a run")

    def takes(self) -> frozenset[str]:
        """The families that it is for as it is set: all of `families`, or fewer."""
        return self.families

    def needs_null(self, weight_is_input: bool) -> bool:
        """Whether it asks the trained module for guesses without conditions, so that training has to drop one at times.

        weight_is_input: whether the module is told a guidance weight, see `Denoiser`.
        """
        return False

    @abstractmethod
    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        """The loss of each item, (batch,), that `player` lowers.

        model: the module that is trained; of a diffusion model the denoiser. random: of this step; an item's draws
        depend on its index alone, and all players of a step are given the same, save for a player's updates before its
        last. step: 0, 1 ...
        """

    def players(self, model: Any) -> tuple[Player, ...]:
        """Who takes steps. Each has one backward pass a step, in which only its own weights have gradients."""
        return (Player(RUN, (model,)),)

    def after(self, model: Any, step: int) -> None:  # noqa: B027 - a default, not a gap
        """What changes after a step, 1, 2 ...: targets that follow the model, phases. Called without gradients."""

    def phase_ends(self, steps: int) -> tuple[int, ...]:
        """After which of so many steps a phase of training ends, `steps` the last: in each the learning rate warms up
        and decays anew.
        """
        return (steps,) if self.inner is None else self.inner.phase_ends(steps)

    def begin(self, model: Any, steps: int) -> None:
        """What is due before the first of so many steps, and before a run goes on; raises Refused for a model that
        cannot be trained so.
        """
        if self.inner is not None:
            self.inner.begin(model, steps)

    def to(self, device: torch.device) -> None:
        """Move the modules that it holds to a device, those of its denoisers and of its own objectives among them."""
        for each in vars(self).values():
            held = each.predictor if isinstance(each, Denoiser) else each
            if isinstance(held, nn.Module | Objective):
                held.to(device)

    def state(self) -> dict[str, Tensor]:
        """All that changes besides the players' weights: the tensors themselves, which resuming fills in place.

        Names, shapes and dtypes stay the same during a run.
        """
        return {}

    def signs(self, model: Any) -> dict[str, float]:
        """Numbers of the model's weights that the training log shows."""
        return {}

    def trouble(self, model: Any, signs: Mapping[str, float]) -> str:
        """Why training is lost, by its signs; "" while it is not."""
        return ""

    def initial(self) -> nn.Module | None:
        """A module like the trained one, with the weights that training starts from; None: the fresh ones."""
        return None

    def sampled(self, process: Any) -> tuple[Sampler, Tensor] | None:
        """The sampler and the times, (steps + 1,), that the model is trained to be sampled by; None: any."""
        return None

    def reference(self, model: Any) -> Denoiser | None:
        """Whose fine trajectories the samples of a few-step model should end at, from the same noise: a teacher, or the
        model itself where its guess without `to` is an ordinary one. None: the trained model takes many steps.
        """
        return None

    @property
    def beside(self) -> Mapping[str, "Objective"]:
        """What validation measures besides the loss, by name."""
        return {}
