"""A request opened on a chain: stage after stage is sampled, and each one's samples are a condition of the next."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.given import captions, from_words
from undiffuse.conditions.label import LABEL
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random
from undiffuse.progress import Progress
from undiffuse.sampling.chained import Stage
from undiffuse.sampling.generator import Generator, OpenedRequest
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.truncated import stopped_early

SHARED = ("n", "seed", "indices", "batch")  # what is the chain's own, and not one stage's
WHOLE = (*SHARED, "stages")  # what is asked of no stage
ONE = ("classifier", "weaker", "lora", "control", "controlnet", "candidates", "rank")  # what fits one run alone
GUIDANCE = ("guidance", "interval", "rescale", "negative")  # of stages whose conditions training dropped
BY_NAME = ("guidance", "negative")  # which may be said of each condition
OWN = (*SHARED, "stages", "conditions", "condition_words", "augmentation")  # what reaches a stage in another way


@dataclass(frozen=True, eq=False)
class ChainSession(OpenedRequest):
    """request: with words read. stages: those that are sampled, the first one perhaps from what a person gave."""

    model: Generator
    request: SampleRequest
    stages: tuple[Stage, ...]
    first: int
    progress: Progress = False

    @classmethod
    def open(
        cls,
        model: Generator,
        stages: tuple[Stage, ...],
        request: SampleRequest,
        known: Mapping[str, ConditionKind],
        progress: Progress,
    ) -> Self:
        """known: the conditions that a person may give, of all stages. Raises Refused for others, for settings of
        stages that there are not, and for what only a single run can be asked for.
        """
        words = from_words(known, request.condition_words)
        request = replace(request, conditions={**request.conditions, **words}, condition_words=())
        for name, value in request.conditions.items():
            if value is not None and name not in known:
                raise unknown("the chain's conditions", name, known)
        for name in request.to_json():
            if name in ONE:
                last = stages[-1].name
                raise Refused(
                    f"{name} is of one run: ask one stage for it, --stage {last}:{name}=... "
                    f"(stages={{{last!r}: {{{name!r}: ...}}}})"
                )
        if missing := next((each for each in request.stages if each not in {s.name for s in stages}), None):
            raise unknown("the chain's stages", str(missing), [stage.name for stage in stages])
        for stage, name in ((stage, name) for stage, said in request.stages.items() for name in said):
            if name in WHOLE:
                raise Refused(f"{name} is of the whole chain, and not of stage {stage!r}: ask for it without the stage")
        for name in (each for each in request.to_json() if each not in OWN):
            if not any(_answers(stage, name) for stage in stages):
                able = ", since training dropped none of their conditions" if name in GUIDANCE else ""
                raise Refused(f"{name} means nothing to the stages of this chain{able}")
        for name in BY_NAME:
            by_name = getattr(request, name)
            for each in by_name if isinstance(by_name, Mapping) else ():
                if each not in known:
                    raise unknown("the chain's conditions", str(each), known)
        given = [i for i, stage in enumerate(stages) if i and request.conditions.get(stage.fills) is not None]
        return cls(model, request, stages, max(given, default=0), progress)

    def draw(self) -> Samples:
        """The last stage's samples."""
        return self._run(film=False)

    def film(self) -> Samples:
        """The same samples with `frames`, those of every stage one after the other, in the last one's size."""
        return self._run(film=True)

    def of_stage(self, which: int, before: np.ndarray | None) -> SampleRequest:
        """What stage `which` is asked for; before: the samples of the one before it."""
        stage, asked = self.stages[which], self.request
        own = SampleRequest.from_json(asked.stages.get(stage.name, {}))
        conditions = {name: value for name, value in asked.conditions.items() if name in stage.run.conditions}
        conditions |= {stage.fills: before} if before is not None else {}
        shared = {name: getattr(asked, name) for name in SHARED}
        of_all = [name for name in asked.to_json() if name not in OWN and _answers(stage, name)]
        said = asked.stages.get(stage.name, {})
        if "sampler" in said:  # settings are those of a sampler
            of_all = [name for name in of_all if name != "settings"]
        both = replace(own, **{name: _of(stage, getattr(asked, name), name) for name in of_all if name not in said})
        level = asked.augmentation if own.augmentation is None and stage.fills else own.augmentation
        level = stage.augmentation if level is None and stage.fills else level  # the first stage takes nothing
        seed = Random(asked.seed).fold(which).seed if which else asked.seed
        return replace(
            both, **{**shared, "augmentation": level, "seed": seed, "conditions": {**conditions, **own.conditions}}
        )

    def stops(self, which: int) -> float:
        """The level of noise at which stage `which` is stopped and handed over; 0: it is finished."""
        if which + 1 >= len(self.stages) or not self.stages[which + 1].truncated:
            return 0.0
        return self.of_stage(which + 1, None).augmentation or 0.0

    def _run(self, film: bool) -> Samples:
        start, calls, frames = time.perf_counter(), 0.0, list[np.ndarray]()
        drawn: Any = None
        level = 0.0
        for i in range(self.first, len(self.stages)):
            opened = self._opened(i, drawn, level)
            level = self.stops(i)
            found = stopped_early(opened, level, film) if level else opened.film() if film else opened.draw()
            drawn = found.states if level else found
            calls += found.calls
            if film:
                frames.append(_sized(found.frames, self.model.data_shape))
        label, asked = self.model.conditions.get(LABEL), self.request.conditions.get(LABEL)
        labels = None if label is None or asked is None else label.given(asked, self.request.count, LABEL)
        seconds = time.perf_counter() - start
        more = {"frames": np.concatenate(frames)} if film else {}
        told = captions(self.model.conditions, self.request.conditions)
        classes = () if label is None else label.classes
        return self.model.samples(
            drawn.as_subclass(Tensor), labels, classes, told, request=self.request, calls=calls, seconds=seconds, **more
        )

    def _opened(self, which: int, before: Any, level: float) -> Any:
        """Stage `which`, told what the stage before made: its samples, or its states with the noise of a level."""
        stage = self.stages[which]
        if not level:
            asked = self.of_stage(which, None if before is None else before.numpy())
            try:
                return stage.run.open(asked, progress=self.progress)
            except Refused as error:
                raise Refused(f"stage {stage.name!r} of the chain: {error}") from None
        kind: Any = stage.condition
        empty = np.zeros(kind.shape, kind.dtype or "float32")
        opened: Any = stage.run.open(replace(self.of_stage(which, empty), augmentation=0.0), progress=self.progress)
        return replace(opened, cond={**opened.cond, stage.fills: kind.handed(before.float(), level)})


def _answers(stage: Stage, name: str) -> bool:
    """Whether a field of a request has a meaning for a stage."""
    run: Any = stage.run
    told = run.denoises and run.denoiser.guidance_input is not None
    guided = name not in GUIDANCE or told or any(each.drop > 0 for each in run.conditions.values())
    return guided and (not run.answers or name in run.answers)


def _of(stage: Stage, value: Any, name: str) -> Any:
    """What a field of the chain's request is for a stage: of weights and texts by condition those that it knows."""
    if name in BY_NAME and isinstance(value, Mapping):
        return {each: one for each, one in value.items() if each in stage.run.conditions} or None
    return value


def _sized(frames: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Frames (steps, n, *shape) of a stage as large as the last one's items, each number as often as it takes."""
    if frames.shape[2:] == shape or frames.ndim - 2 != len(shape) or len(shape) < 2:
        return frames
    steps, n = frames.shape[:2]
    flat = torch.from_numpy(frames.reshape(steps * n, *frames.shape[2:]).astype(np.float64))
    large = F.interpolate(flat, shape[1:], mode="nearest").numpy().astype(frames.dtype)
    return large.reshape(steps, n, *large.shape[1:])
