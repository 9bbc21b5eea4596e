"""What a run folder holds: a denoiser, the codec at its edges, and the recipe that made them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.codecs.codec import Codec
from undiffuse.core import devices
from undiffuse.core.denoiser import Predictor, TokenPredictor
from undiffuse.core.heads.column_predictor import ColumnPredictor
from undiffuse.models.classifier import load_classifier
from undiffuse.models.description import Description
from undiffuse.models.run import FILE as FILE
from undiffuse.models.run import SUMMARY as SUMMARY
from undiffuse.models.run import Saved, opened
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.settings import Condition
from undiffuse.sampling.plan import Progress
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.session import Session


@dataclass(frozen=True, eq=False, repr=False)
class Model(Saved):
    """A trained denoiser with its codec: draws samples in the data's own units.

    shape: of one encoded sample, channels first. classes: names of the labels. conditions: what the network is told,
    by name.
    facts: the step, the data's summary, library versions ... in JSON's types.
    variance: the fields of `OptimalVariance` but its denoiser, where they were tuned: the variance "exact" of samplers.
    """

    denoiser: Predictor | TokenPredictor | ColumnPredictor
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    classes: tuple[str, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    variance: Mapping[str, Any] = field(default_factory=dict)

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> Session:
        """A request opened on this model; see `sample`."""
        asked = (SampleRequest() if request is None else request).updated(options, self.conditions)
        if isinstance(asked.classifier, str | Path):
            asked = replace(asked, classifier=load_classifier(asked.classifier))
        return Session.open(self, asked, progress)

    def sample(
        self, n: int, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> Samples:
        """Draw n samples: (n, *shape) in the data's dtype and range, on the CPU; see `Samples`.

        Sample i depends on (seed, i) only, whatever the batch. options: the fields of `SampleRequest` by name, which go
        before those of the request, and conditions by theirs: a class (number or name), a text, numbers (d,) or an
        image (channels, height, width) of any size, or n of them; left out: samples of any.
        progress: show a bar, or call progress(done, total), in steps of one sample.
        Raises Refused, with the nearest name, for options that there are not, for values that make no sense, and for
        what the model was not trained for.
        """
        return self.open(request, n=n, progress=progress, **options).draw()

    def trajectory(self, n: int, request: SampleRequest | None = None, **options: Any) -> Iterator[Samples]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.

        Values are divided by sqrt(alpha^2 + sigma^2), so that noise is as bright as data under every schedule.
        """
        return (frame for _, frame in self.open(request, n=n, **options).decoded_states())

    def decoded(self, x: Tensor) -> Samples:
        """States without noise in the data's own units, on the CPU."""
        return self.samples(self.codec.decode(self.denoiser.data_of(x)).cpu())

    def samples(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
        captions: Sequence[str] = (),
        **drawn: Any,
    ) -> Samples:
        """The tensor x (n, *shape) in the data's units, with all that it is of but the weights. drawn: how, see
        `Samples`.
        """
        about = {name: getattr(self, name) for name in Description.__dataclass_fields__}
        labels = None if labels is None else labels.cpu()
        return Samples.made(x, Description(**about), labels, classes, captions, **drawn)

    @property
    def module(self) -> nn.Module:
        return self.denoiser


def load(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Model:
    """The model of a run folder, with the averaged weights, ready to sample.

    precision: "auto" (bfloat16 where the hardware multiplies it and the network has convolutions), "float32" or
    "bfloat16".
    device: default a GPU where there is one. Runs no code from the folder, and takes memory only once the file is known
    to hold what its recipe's network needs. Raises Refused if there is no whole model, and no such device.
    """
    where = devices.device(device)
    module, said = opened(path, classifier=False)
    denoiser: Any = module
    model = Model(denoiser, **vars(said))
    return model.to(precision, where)
