"""The prior of a scene: a frozen run, what it is asked for, and what it is told of each camera."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.recipes.recipe import Recipe
from undiffuse.rendering.cameras import VIEWS, towards, views

CAMERA = "camera"  # the condition that is told where a view is from
VIEW = "{view}"  # in what is asked for, the word for the view


@dataclass(frozen=True)
class PriorSettings:
    """The fields of a recipe's [prior].

    run: the folder of a run of kind diffusion. conditions: what it is asked for, by its conditions' names, as `sample`
    takes it; of "{view}" in a text or a class every camera makes front, side, back or overhead. guidance: the weight of
    classifier-free guidance towards all that is asked for; 1: none.
    """

    run: str
    conditions: dict[str, Any] = field(default_factory=dict[str, Any])
    guidance: float = 1.0


@dataclass(frozen=True, eq=False)
class ScenePrior:
    """run: a model of samples. settings: see `PriorSettings`. solid: whether views are from different cameras.

    Raises Refused, see `of`.
    """

    run: Any
    settings: PriorSettings
    solid: bool

    @classmethod
    def of(cls, recipe: Recipe, solid: bool) -> Self:
        """The prior of a recipe. Raises Refused, naming the field, for a run that draws no samples of values by a
        denoiser, for one that takes few steps, and for one that takes other conditions than the scene gives.
        """
        settings = PriorSettings(**registry.check(PriorSettings, recipe["prior"], owner="prior"))
        run, what = recipe.uses.run("prior.run", settings.run), f"prior.run = {settings.run!r}"
        if not run.denoises:
            raise Refused(f"{what} holds {run.what}, and the prior of a scene is a run that denoises samples")
        if run.codec.tokens or run.codec.mixed:
            raise Refused(f"{what} is a model of {'rows' if run.codec.mixed else 'tokens'}, and a scene is of values")
        if run.denoiser.jumps not in ("none", "any"):
            raise Refused(f"{what} takes few steps (denoiser.jumps = {run.denoiser.jumps!r}): take its teacher")
        found = cls(run, settings, solid)
        found._check(what)
        return found

    @cached_property
    def denoiser(self) -> Denoiser:
        """The run's denoiser, with guidance where it is asked for."""
        return self._guided(self.settings.guidance)

    @cached_property
    def inverse(self) -> Denoiser:
        """The denoiser that finds the noise in a picture: with the opposite guidance, where there is any."""
        weight = self.settings.guidance
        return self._guided(weight if weight == 1 else -weight)

    def _guided(self, weight: float) -> Denoiser:
        plain = self.run.denoiser
        return plain if weight == 1 else ClassifierFree(plain, weight=weight, hide=tuple(self.settings.conditions))

    def conditions(self, cameras: Tensor) -> dict[str, Tensor]:
        """What the denoiser is told of views from these cameras (batch, 3): what is asked for, and the camera."""
        kinds, which = self.run.conditions, views(cameras).cpu()
        found = {name: rows[which].to(cameras.device) for name, rows in self._asked.items()}
        if self._told:
            found[CAMERA] = kinds[CAMERA].encode(towards(cameras).cpu().numpy()).to(cameras.device)
        return found

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # frozen: copies of a scene share it

    @property
    def _told(self) -> bool:
        """Whether the run is told of each camera."""
        return self.solid and CAMERA in self.run.conditions and CAMERA not in self.settings.conditions

    @cached_property
    def _asked(self) -> Mapping[str, Tensor]:
        """What is asked for, encoded, a row for each of VIEWS."""
        kinds = self.run.conditions
        return {
            name: torch.cat([kinds[name].given(_seen(value, view), 1, f"prior.conditions.{name}") for view in VIEWS])
            for name, value in self.settings.conditions.items()
        }

    def _check(self, what: str) -> None:
        kinds = self.run.conditions
        given = [*self.settings.conditions, *([CAMERA] if self._told else [])]
        lacking = [name for name, kind in kinds.items() if name not in given and not kind.drop]
        if lacking or not set(given) <= set(kinds):
            raise Refused(
                f"{what} takes the conditions {', '.join(kinds) or 'none'}, and the scene gives "
                f"{', '.join(given) or 'none'}: give each in [prior.conditions], by its name"
                + (f" ({', '.join(lacking)} cannot be left out)" if lacking else "")
            )
        if self._told and kinds[CAMERA].spec != ("vector", (3,)):
            raise Refused(
                f"{what} takes a {CAMERA} that is {kinds[CAMERA].summary()}, and a scene gives the unit vector to the "
                "camera, 3 numbers"
            )
        if self.settings.guidance != 1 and not given:
            raise Refused("prior.guidance guides towards prior.conditions, and there are none")
        if self.settings.guidance != 1:
            undropped = [name for name in self.settings.conditions if not kinds[name].drop]
            if undropped or not self.settings.conditions:
                raise Refused(
                    f"prior.guidance = {self.settings.guidance:g} needs guesses without "
                    f"{', '.join(undropped) or 'conditions'}, which {what} never learned "
                    f"(conditions.{next(iter(undropped), CAMERA)}.drop = 0): leave guidance out"
                )
        _ = self._asked  # refuses values that a condition cannot have


def _seen(value: Any, view: str) -> Any:
    """What is asked for, with the word for the view in it."""
    return value.replace(VIEW, view) if isinstance(value, str) else value
