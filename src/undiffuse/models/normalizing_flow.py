"""A normalizing flow as a run: a bound on the probability of an item, and samples by one inverse."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.codecs.level_grid import level_grid
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.normalizing_flow import NormalizingFlow
from undiffuse.core.single_precision import in_float32
from undiffuse.models.drawn_kind import DrawnKind
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.sampling.evaluation_request import Bar
from undiffuse.sampling.prior_session import PriorSession
from undiffuse.sampling.request import SampleRequest

DRAWS = 8  # of the noise that spreads an item over its levels


class NormalizingFlowRun(DrawnKind):
    """A trained normalizing flow with its codec. Fields: see `Run`; shape: of an encoded item, channels first."""

    reads: ClassVar[str] = "bijection"
    predicts: ClassVar[str] = "likelihood"
    what: ClassVar[str] = "a normalizing flow"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`, and `undiffuse evaluate` measures its likelihood"
    levelled: ClassVar[bool] = True
    rounds: ClassVar[bool] = False  # rounded, it is not inverted

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        grid = level_grid(about.codec, about.shape)
        with in_float32():
            given: dict[str, Any] = {"channels": about.shape[0], "shape": about.shape, "classes": len(about.classes)}
            return NormalizingFlow(about.recipe.module("network", **given), grid)

    def attempt(self) -> None:
        dtype = next(self.module.parameters()).dtype
        self.module.network(torch.zeros(1, *self.shape, dtype=dtype, device=self.device))

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The items in the data's units that draws z (n, *shape) from N(0, 1) are, on z's device.

        Raises Refused for draws of another shape.
        """
        z = arguments.tensor(z, "z")
        if tuple(z.shape[1:]) != self.shape:
            raise Refused(f"this normalizing flow takes noise of shape {self.shape}, not {tuple(z.shape[1:])}")
        return self.codec.decode(self.module.decode(z.to(self.device), **cond)).to(z.device)

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> PriorSession:
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return PriorSession.open(self, asked, self.shape, self.decode, progress)

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        from undiffuse.evaluation.level_likelihood import held_out_likelihood

        with bar("bound", "item") as advance:
            return held_out_likelihood(self, self.module, data, seed, advance, draws=DRAWS)

    def about(self) -> dict[str, str]:
        return {"draws": "normal noise, through the inverse of the network"}
