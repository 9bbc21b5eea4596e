"""A request opened on a scene: its views all around, in the order of a turntable, or what it holds side by side."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.progress import Progress
from undiffuse.rendering.cameras import turntable
from undiffuse.rendering.mesh import Mesh, mesh
from undiffuse.sampling.generator import ANSWERED, Generator, OpenedRequest, refuse_unanswered
from undiffuse.sampling.plan import shown
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples

VIEWS, TOGETHER = 24, 8  # views of a turntable, where it is not said; views that are rendered at once
SURFACE = 5.0  # the density of a mesh's surface, in 1 / unit of length


@dataclass(frozen=True, eq=False)
class SceneSession(OpenedRequest):
    """View i of n is from azimuth 360 i/n degrees, n = 24 where indices are given; of a scene of images it is image i
    mod their count.
    """

    model: Any
    request: SampleRequest
    progress: Progress = False

    @classmethod
    def open(cls, model: Generator, request: SampleRequest, progress: Progress = False) -> Self:
        """Raises Refused for what only a sampler of steps, or a condition, could answer."""
        shown = " is for runs that draw samples: a scene shows what it holds, and what it is of was said in training"
        refuse_unanswered(request, ANSWERED, f"{shown} ([prior.conditions])")
        return cls(model, request, progress)

    def draw(self) -> Samples:
        """The views as samples."""
        start = time.perf_counter()
        return self._samples(torch.cat(list(self._views())), start)

    def film(self) -> Samples:
        """One sample that turns: `frames` are the views; of images all of them, which stand still."""
        start = time.perf_counter()
        seen = torch.cat(list(self._views()))
        frames = seen[:, None] if self.model.solid else seen[None]
        return self._samples(frames[0], start, frames=frames.numpy())

    def solid(self) -> Samples:
        """One view, with the mesh of the scene; raises Refused where several are asked for."""
        if self.request.count > 1:
            raise Refused(
                f"a scene has one mesh, and {self.request.count} samples are asked for: leave -n and --indices out, or "
                "ask for so many views, -o views.png"
            )
        start = time.perf_counter()
        seen = self.model.views(turntable(1))
        return self._samples(seen, start, mesh=self.mesh())

    def mesh(self, level: float | None = None) -> Mesh:
        """The surface of the scene; raises Refused for images, and where there is none."""
        return mesh(self.model.module.renderable.field, SURFACE if level is None else level, device=self.model.device)

    def _views(self) -> Iterator[Tensor]:
        """The views that are asked for, a few at a time, in the units of the prior's data."""
        which, n = self.which, self.request.count if self.request.indices is None else VIEWS
        cameras = turntable(n)
        with shown(self.progress, len(which)) as report:
            for part in which.split(self.request.batch or TOGETHER):
                yield self.model.views(cameras[part % n], part)
                report(int(part.numel()))

    def _samples(self, x: Tensor, start: float, **drawn: Any) -> Samples:
        return self.model.samples(x, request=self.request, seconds=time.perf_counter() - start, **drawn)
