"""ControlNet: a frozen run that draws samples, steered by a trained copy of its first part that is shown a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.single_precision import in_float32
from undiffuse.models.denoising_kind import DenoisingKind
from undiffuse.networks.control import ControlBranch, usual_widths
from undiffuse.networks.steering import Steerable
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import BASE
from undiffuse.sampling.generator import refuse_taken
from undiffuse.sampling.guidance import check_recipe
from undiffuse.sampling.steering import controlled


@dataclass(frozen=True)
class BaseSettings:
    """The fields of a recipe's [base]. run: the folder of a run that draws samples, whose network is a unet or dit."""

    run: str


@dataclass(frozen=True)
class ControlSettings:
    """The fields of a recipe's [control]. widths: of the encoder of pictures, see `ControlBranch`; (): as many as the
    pictures' size asks for.
    """

    widths: tuple[int, ...] = ()


class ControlNet(DenoisingKind):
    """A run that a control steers: its conditions are the base's, and the control's pictures and maps.

    Trained are the control's weights alone. All but data, control and training is the base's: `inherits`.
    Source: arXiv:2302.05543; of transformers arXiv:2401.05252, sec. 2.4.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "base", "train"), True),
        **dict.fromkeys(("control", "conditions", "objective", "optimiser", "init", "sampler"), False),
        **dict.fromkeys(("codec", "process", "schedule", "network", "parameterization", "denoiser"), False),
    }
    inherits: ClassVar[tuple[str, ...]] = (
        *("codec", "process", "schedule", "network", "parameterization", "denoiser"),
        *("objective", "sampler"),
    )
    steers: ClassVar[bool] = True
    what: ClassVar[str] = "a model of samples with a control"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run} --condition NAME=PICTURE`"

    @classmethod
    def base_of(cls, recipe: Recipe) -> Any:
        settings = BaseSettings(**registry.check(BaseSettings, recipe["base"], owner="base"))
        run, what = recipe.uses.run(BASE, settings.run), f"base.run = {settings.run!r}"
        if not run.denoises:
            raise Refused(f"{what} holds {run.what}, and the base of a controlnet is a run that denoises samples")
        if run.steers:
            raise Refused(
                f"{what} is a controlnet itself: train on its own base, {run.recipe['base']['run']!r}; samples may "
                "have several controls: --controlnet RUN --controlnet RUN"
            )
        if not issubclass(type(run.denoiser.network), Steerable) or run.denoiser.embeddings is not None:
            raise Refused(
                f"{what} has the network {run.recipe['network']['name']!r}, whose first part cannot be copied: the "
                "base of a controlnet is a run of values with a unet or a dit"
            )
        return run

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        base = cls.base_of(recipe)
        build.check_denoising(recipe, conditions)
        refuse_taken(conditions)
        check_recipe(recipe)
        ControlSettings(**registry.check(ControlSettings, recipe["control"], owner="control"))
        own = {name: kind for name, kind in conditions.items() if name not in base.conditions}
        if not own:
            known = ", ".join(base.conditions) or "none"
            raise Refused(
                f"a controlnet needs a condition that its base does not have (those are: {known}), an image or a map: "
                "--set conditions.edges.kind=image conditions.edges.of=edges"
            )
        for name, kind in own.items():
            if not kind.beside:
                raise Refused(f"a control is an image or a map, and conditions.{name} is of kind {kind.kind!r}")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        base = cls.base_of(about.recipe)
        settings = ControlSettings(**registry.check(ControlSettings, about.recipe["control"], owner="control"))
        own = {name: kind.spec for name, kind in about.conditions.items() if name not in base.conditions}
        network = base.denoiser.network
        widths = settings.widths or usual_widths(own, about.shape, network.patch)
        with in_float32():
            return controlled(base.denoiser, [ControlBranch(network, own, widths)])
