"""A generative adversarial network as a run: samples by one call of a generator, and no likelihood."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.implicit import ImplicitModel
from undiffuse.core.single_precision import in_float32
from undiffuse.models.drawn_kind import DrawnKind
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import Bar
from undiffuse.sampling.prior_session import PriorSession
from undiffuse.sampling.request import SampleRequest

BOUNDS = (-1.0, 1.0)  # of what a generator makes
NO_LIKELIHOOD = "a GAN makes samples and has no probability of an item: of it there are the metrics of samples"


class GANRun(DrawnKind):
    """A trained generator with its codec; what it was trained against is not kept. Fields: see `Run`."""

    reads: ClassVar[str] = "samples"
    predicts: ClassVar[str] = "game"
    what: ClassVar[str] = "a GAN"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`, and `undiffuse evaluate` judges them"

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        super().check(recipe, conditions)
        codec = recipe.component("codec")
        if codec.tokens or codec.mixed:
            raise Refused(f"codec {recipe['codec']['name']!r} is not for values, and a GAN is: take pixels")
        if codec.bounds != BOUNDS:
            raise Refused(
                f"a generator makes numbers from -1 to 1, and codec {recipe['codec']['name']!r} makes others of data: "
                "--set codec.name=pixels brings data of any range there"
            )

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        with in_float32():
            given: dict[str, Any] = {"channels": about.shape[0], "shape": about.shape, "classes": len(about.classes)}
            return ImplicitModel(about.recipe.module("network", **given))

    def attempt(self) -> None:
        self.module(torch.zeros(1, self.module.network.latents, dtype=torch.float32, device=self.device))

    @torch.no_grad()
    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The items in the data's units that draws z (n, latents) from N(0, 1) become, on z's device.

        Raises Refused for draws of another shape.
        """
        z = arguments.tensor(z, "z")
        return self.codec.decode(self.module(z.to(self.device), **cond)).to(z.device)

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> PriorSession:
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return PriorSession.open(self, asked, (self.module.network.latents,), self.decode, progress)

    def no_likelihood(self) -> str:
        return NO_LIKELIHOOD

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        raise Refused(NO_LIKELIHOOD)

    def about(self) -> dict[str, str]:
        return {"draws": f"{self.module.network.latents} numbers of noise, through one call of the network"}
