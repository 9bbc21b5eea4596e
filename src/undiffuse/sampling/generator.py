"""A run that draws samples."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.progress import Progress
from undiffuse.sampling.evaluation_request import Bar
from undiffuse.sampling.option import options
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.run import Run
from undiffuse.sampling.samples import Samples

ANSWERED = ("n", "seed", "indices", "batch")  # what of a request has a meaning for whatever draws


class OpenedRequest(ABC):
    """A request to a run, opened: nothing is drawn yet.

    request: with all that it came to, such as the guidance that the recipe says.
    """

    request: SampleRequest

    @property
    def which(self) -> Tensor:
        """The index of each sample, int64: with the seed alone it says how the sample is drawn."""
        asked = self.request.indices
        return torch.arange(self.request.count) if asked is None else torch.tensor(asked, dtype=torch.int64)

    @abstractmethod
    def draw(self) -> Samples:
        """The samples."""

    @abstractmethod
    def film(self) -> Samples:
        """The same samples with `frames`, the states on the way to them."""

    def solid(self) -> Samples:
        """A sample with `mesh`, the surface of what it shows, or a point cloud; raises Refused where there is none, and
        for several.
        """
        raise Refused("meshes are of scenes in three dimensions and clouds of points: ask for .png or .npz")


class Generator(Run):
    """A run that draws samples in the data's own units, by whatever it learned; see `DenoisingGenerator`.

    answers: the fields of a request that have a meaning for it; (): all.
    """

    answers: ClassVar[tuple[str, ...]] = ()

    @property
    def draws(self) -> bool:
        return True

    @property
    def usual(self) -> int | None:
        """How many samples show all there is; None: there is no end of them."""
        return None

    @property
    def stages(self) -> Sequence[Any]:
        """Of a chain: its stages in order, see `Stage`."""
        return ()

    @property
    def askable(self) -> Mapping[str, ConditionKind]:
        """The conditions that a person may give; of a chain also those that its stages fill."""
        return self.conditions

    @property
    def noisy_stages(self) -> Mapping[str, float]:
        """Of a chain: the stages that were trained with noise on their condition, and its greatest level."""
        return {}

    def with_levels(self, levels: Mapping[str, float]) -> Self:
        """Of a chain: itself with other levels of that noise, by stage."""
        raise Refused(f"{self.what} has no stages whose conditions have noise")

    @abstractmethod
    def open(
        self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> OpenedRequest:
        """A request to this run, opened; see `sample`."""

    @abstractmethod
    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        """How likely it finds some of the data: `Scores`; raises Refused where it cannot say."""

    def no_likelihood(self) -> str:
        """Why it cannot say how likely it finds data, whatever they are; "" where it can."""
        return ""

    @devices.on_cpu()
    def sample(
        self, n: int, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> Samples:
        """Draw n samples: (n, *shape) in the data's dtype and range, on the CPU; see `Samples`.

        Sample i depends on (seed, i) only, whatever the batch. options: the fields of `SampleRequest` by name, which go
        before those of the request, and conditions by theirs: a class (number or name), a text, numbers (d,) or an
        image (channels, height, width) of any size, or n of them; left out: samples of any.
        progress: show a bar, or call progress(done, total), in steps of one sample.
        Raises Refused, with the nearest name, for options that there are not, for values that make no sense, and for
        what the run was not trained for.
        """
        return self.open(request, n=arguments.whole(n, "n"), progress=progress, **options).draw()

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
        labels = None if labels is None else labels.cpu()
        return Samples.made(x, self.description, labels, classes, captions, **drawn)


def refuse_taken(conditions: Collection[str]) -> None:
    """Raises Refused for a condition with the name of an option of `Generator.sample`."""
    taken = {*options(SampleRequest), *signature(Generator.sample).parameters}
    for name in conditions:
        if name in taken:
            raise Refused(f"a condition cannot be called {name!r}, which is an option of `sample`: rename it")


def refuse_unanswered(request: SampleRequest, answered: Collection[str], why: str) -> None:
    """Raises Refused for an option of a request that is not among those that are answered. why: none other is, in
    words that follow the option's name.
    """
    for name in request.to_json():
        if name not in answered:
            taken = [each for each in answered if not each.startswith("condition")]
            more = " and its conditions" if "conditions" in answered else ""
            raise Refused(f"{name}{why}; of a request it takes {', '.join(taken)}{more}")
