"""An autoregressive run: the exact probability of an item, value by value, and samples drawn so."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from undiffuse.codecs.level_grid import level_grid
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.autoregressive import Autoregressive
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused
from undiffuse.core.single_precision import in_float32
from undiffuse.models.drawn_kind import DrawnKind
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.autoregressive_session import OPTIONS, SAID, AutoregressiveSession, CompletingGenerator
from undiffuse.sampling.evaluation_request import Bar
from undiffuse.sampling.generator import ANSWERED
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.sampling.request import SampleRequest

HEAD = {"name": "softmax"}  # where the recipe has no table [head]
EMBEDDING = 32  # numbers that stand for a symbol without an order
WHERE = ": of codes of latents --set codec.grid=true keeps where they stand"


class AutoregressiveRun(DrawnKind, CompletingGenerator):
    """A trained autoregressive model with its codec: exact likelihoods, samples and completions in the data's units.

    Fields: see `Run`; shape: of an encoded item, channels first.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "network", "objective", "train"), True),
        **dict.fromkeys(("head", "optimiser", "init", "conditions", "sampler"), False),
    }
    reads: ClassVar[str] = "conditionals"
    predicts: ClassVar[str] = "likelihood"
    what: ClassVar[str] = "an autoregressive model"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`, and `undiffuse evaluate` measures its likelihood"
    levelled: ClassVar[bool] = True
    rounds: ClassVar[bool] = False  # a rounded logit is another probability
    answers: ClassVar[tuple[str, ...]] = (*ANSWERED, *OPTIONS)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        super().check(recipe, conditions)
        for name in recipe["sampler"]:
            if name not in SAID:
                raise Refused(f"sampler.{name}: an autoregressive run draws value by value; it has {', '.join(SAID)}")
        recipe_defaults(recipe)
        table = recipe["head"] or HEAD
        head = registry.get("level_heads", str(table.get("name")))
        registry.check(head, {k: v for k, v in table.items() if k != "name"}, owner="head")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        recipe, shape, codec = about.recipe, about.shape, about.codec
        symbols, channels = codec.tokens and not codec.values, shape[0]
        grid = Decoder(0.0, codec.vocabulary - 1.0, codec.vocabulary) if symbols else level_grid(codec, shape)
        if len(shape) < 2:
            where = WHERE if symbols else ""
            raise Refused(
                f"an autoregressive run is of images and sequences with channels, not of items of shape {shape}{where}"
            )
        seen = {"symbol_width": EMBEDDING} if symbols else {}
        if symbols and not registry.get("networks", str(recipe["network"]["name"])).embeds:
            raise Refused(
                f"codec {registry.name_of(codec)!r} makes symbols without an order, and network "
                f"{recipe['network']['name']!r} takes levels, whose numbers rise: take pixelcnn"
            )
        with in_float32():
            head = registry.build("level_heads", recipe["head"] or HEAD, levels=grid.levels, channels=channels)
            if symbols and head.ordered:
                raise Refused(
                    f"codec {registry.name_of(codec)!r} makes symbols without an order, and head "
                    f"{recipe['head']['name']!r} takes neighbours for alike: --set head.name=softmax"
                )
            network = recipe.module(
                "network",
                channels=channels,
                shape=shape,
                dimensions=len(shape) - 1,
                outputs=head.outputs,
                classes=len(about.classes),
                conditions={name: each.spec for name, each in about.conditions.items() if not each.counts_classes},
                **seen,
            )
            return Autoregressive(network, head, grid, EMBEDDING if symbols else 0)

    def attempt(self) -> None:
        first = torch.zeros(1, *self.shape, dtype=torch.int64, device=self.device)
        self.module.log_prob(self.module.levels.values(first))

    def no_likelihood(self) -> str:
        return self.codec.no_density() if self.codec.lossy else ""

    def open(
        self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> AutoregressiveSession:
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return AutoregressiveSession.open(self, self.module, asked, progress)

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        from undiffuse.evaluation.level_likelihood import held_out_likelihood

        with bar("likelihood", "item") as advance:
            return held_out_likelihood(self, self.module, data, seed, advance)

    def about(self) -> dict[str, str]:
        channels = f", {self.shape[0]} of them a place" if self.shape[0] > 1 else ""
        return {"draws": f"{int(np.prod(self.shape)):,} values in a row{channels}, each of {self.module.levels.levels}"}
