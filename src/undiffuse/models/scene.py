"""A scene: images or a solid, trained by score distillation until a frozen run finds their views likely."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.single_precision import in_float32
from undiffuse.evaluation.record import EVALUATION
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.rendering.cameras import turntable
from undiffuse.rendering.mesh import Mesh
from undiffuse.rendering.renderable import Renderable
from undiffuse.rendering.scene_module import SceneModule
from undiffuse.sampling.evaluation_request import Bar, Evaluated, EvaluationRequest
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.scene_prior import ScenePrior
from undiffuse.sampling.scene_session import VIEWS, SceneSession
from undiffuse.storage import blueprint as plans

PIXELS = (-1.0, 1.0)  # the bounds of a codec that makes pixels
SHOWN = 8  # views in a preview


class SceneRun(Generator):
    """A trained scene with the frozen run that it was trained by; its samples are views, in the units of that run's
    data. Fields: see `Run`; shape and codec: of the cameras.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "scene", "prior", "objective", "train"), True),
        "optimiser": False,
    }
    made: ClassVar[str] = "scene"
    reads: ClassVar[str] = "scene"
    predicts: ClassVar[str] = "scene"
    what: ClassVar[str] = "a scene"
    use: ClassVar[str] = (
        "show it by `undiffuse sample {run} -o views.png`; a solid turns by `-o turntable.gif`, and has a mesh, "
        "`-o mesh.obj`"
    )
    rounds: ClassVar[bool] = False
    writes: ClassVar[tuple[str, ...]] = (EVALUATION,)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        if recipe["codec"]["name"] != "identity" or recipe["data"]["name"] != "cameras":
            raise Refused(
                "a scene is trained from cameras: data.name = 'cameras' and codec.name = 'identity', not "
                f"{recipe['data']['name']!r} and {recipe['codec']['name']!r}; what its views are like is the prior's"
            )
        kind: Any = registry.get("scenes", str(recipe["scene"].get("name", "")))
        prior = ScenePrior.of(recipe, kind.solid)
        if kind.solid and prior.run.codec.bounds != PIXELS:
            raise Refused(
                f"prior.run = {recipe['prior']['run']!r} is of {prior.run.recipe['codec']['name']!r} and not of "
                "pixels, and a scene in three dimensions is seen as pixels in [-1, 1]: take a run with codec 'pixels', "
                "or scene.name = 'image'"
            )
        plans.blueprint(partial(_renderable, recipe), f"scene {recipe['scene']['name']!r}")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        made = _renderable(about.recipe)
        with torch.device("cpu"):  # the prior is there already, even where the scene is only sketched
            return SceneModule(made, ScenePrior.of(about.recipe, made.solid))

    @property
    def scene(self) -> SceneModule:
        """What was trained."""
        return self.module

    @property
    def prior(self) -> Any:
        """The frozen run."""
        return self.scene.prior.run

    @property
    def solid(self) -> bool:
        """Whether it has three dimensions."""
        return self.scene.renderable.solid

    @property
    def usual(self) -> int:
        return VIEWS if self.solid else self.scene.renderable.items()

    @property
    def data_shape(self) -> tuple[int, ...]:
        return self.prior.data_shape

    @property
    def data_dtype(self) -> str:
        return self.prior.data_dtype

    @torch.no_grad()
    def views(self, cameras: Tensor, which: Tensor | None = None) -> Tensor:
        """What cameras (batch, 3) see, (batch, *data_shape) in the units of the prior's data, on the CPU; of images
        those at `which`, None: the first ones.
        """
        random = None if self.solid else Random(0, torch.arange(len(cameras)) if which is None else which)
        return self.prior.codec.decode(self.scene(cameras.to(self.device), random).pictures.cpu())

    def mesh(self, level: float | None = None) -> Mesh:
        """The surface where its density is `level`, None: the usual one; raises Refused for images."""
        return SceneSession.open(self, SampleRequest()).mesh(level)

    def attempt(self) -> None:
        self.views(turntable(1))

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        from undiffuse import pictures

        shown = self.views(turntable(SHOWN if self.solid else self.scene.renderable.items()))
        return pictures.png(pictures.overview(shown.numpy()))

    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        from undiffuse.evaluation.view_accuracy import judge_views

        return judge_views(self, self.prior, asked)

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> SceneSession:
        return SceneSession.open(self, (request or SampleRequest()).updated(options, self.conditions), progress)

    def samples(self, x: Tensor, *args: Any, **drawn: Any) -> Samples:
        prior = self.prior
        return Samples.made(x, Description(self.recipe, prior.shape, {}, prior.codec, self.facts), **drawn)

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        raise Refused(
            "a scene has no likelihood: score distillation looks for likely views, and learns no distribution; "
            "`undiffuse evaluate` without a metric says how often its views are recognised"
        )

    def about(self) -> dict[str, str]:
        asked = ", ".join(f"{name} = {value}" for name, value in self.scene.prior.settings.conditions.items())
        return {"asked for": asked or "anything"}


def _renderable(recipe: Recipe) -> Renderable:
    """What is trained, with its first weights."""
    prior = recipe.uses.run("prior.run", str(recipe["prior"].get("run", "")))
    with in_float32():
        return recipe.module("scene", shape=prior.shape)
