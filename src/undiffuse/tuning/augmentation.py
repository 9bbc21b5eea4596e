"""The noise on the condition of a chain's stages: the level at which samples come nearest to held-out data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.conditions.from_data import examples
from undiffuse.conditions.label import LABEL
from undiffuse.core import devices
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.paths import on
from undiffuse.evaluation import sources
from undiffuse.evaluation.features.choice import choose
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.models.load import generator, load
from undiffuse.progress import Advance
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.generator import Generator
from undiffuse.storage.files import write_json
from undiffuse.tuning.place import FOLDER, draw, keep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL_TABLE, LEVEL_CURVE = "augmentation.json", "augmentation.png"
POINTS = 6  # levels that are tried where none are named


@dataclass(frozen=True)
class TriedLevel:
    """A level of noise on the condition of a stage, and the distance of the chain's samples to held-out items."""

    stage: str
    level: float
    distance: float


@devices.on_cpu()
def augmentation(
    run: Path,
    levels: Sequence[float] | None = None,
    *,
    count: int = 500,
    data: Any = None,
    features: str | Features | None = None,
    store: bool = False,
    advance: Advance = lambda done, total: None,
) -> tuple[list[TriedLevel], dict[str, float]]:
    """All that was tried, and the best level of each stage, one stage after the other; store: keep them with the run.

    levels: to try, None for 6 even ones from 0 to the greatest that each stage was trained with. The noise is the same
    for all levels. features: what distances are measured in, see `choose`; None: the numbers as the last stage's
    network sees them. Raises Refused for runs whose stages take no noise, and for levels that a network never saw.
    """
    model = generator(run, "float32")
    model = replace(model, recipe=on(model.recipe, data))
    if not model.noisy_stages:
        raise Refused(
            f"{run} has no stage that was trained with noise on its condition (conditions.NAME.noise): there is no "
            "level to choose"
        )
    for stage, most in model.noisy_stages.items():
        for level in levels or ():
            if not 0 <= level <= most:
                raise Refused(f"stage {stage!r} was trained with noise of levels from 0 to {most:g}, not {level:g}")
    source = sources.of_run(model)
    real = source.held_out
    seen = partial(numbers, model) if features is None else _seen(features, source.train)
    total = sum(len(levels or range(POINTS)) for _ in model.noisy_stages)
    found: list[TriedLevel] = []
    chosen: dict[str, float] = {}
    for stage, most in model.noisy_stages.items():
        tried: list[TriedLevel] = []
        for level in levels or np.linspace(0, most, POINTS).tolist():
            at = {name: {"augmentation": each} for name, each in {**chosen, stage: float(level)}.items()}
            tried.append(TriedLevel(stage, float(level), distance(model, real, count, at, seen)))
            advance(len(found) + len(tried), total)
        chosen[stage] = min(tried, key=lambda each: each.distance).level
        found += tried
    write_json(run / FOLDER / LEVEL_TABLE, {"best": chosen, "tried": [asdict(each) for each in found]})
    draw(run / FOLDER / LEVEL_CURVE, partial(_curve, found))
    if store:
        tuned = model.with_levels(chosen)
        keep(run, tuned)
        tuned.recipe.save(run)
    return found, chosen


def distance(
    model: Generator, real: Dataset, count: int, stages: Mapping[str, Any], seen: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Of so many samples by these requests of stages to held-out items, with their conditions; seen: their vectors."""
    known = model.classes if LABEL in model.conditions else ()
    label = {LABEL: [known[i % len(known)] for i in range(count)]} if known else {}
    drawn = model.sample(count, stages=stages, **{**examples(model.conditions, real.conditions, count), **label})
    items = np.asarray(real.some(max(count, 1000)).x)
    return frechet(*(np.asarray(seen(np.asarray(x)), dtype=np.float64) for x in (drawn, items)))


def numbers(model: Generator, x: np.ndarray) -> np.ndarray:
    """Items as the network sees them, a vector each."""
    return model.codec.encode(x).flatten(1).double().numpy()


def _seen(features: str | Features, train: Dataset) -> Features:
    return choose(features, Uses(load).of("features")).fit(np.asarray(train.x))


def _curve(found: Sequence[TriedLevel], axes: "Axes") -> None:
    """The distance against the level, a line a stage."""
    for stage in dict.fromkeys(each.stage for each in found):
        mine = sorted((each for each in found if each.stage == stage), key=lambda each: each.level)
        axes.plot([each.level for each in mine], [each.distance for each in mine], "o-", label=stage)
    axes.set(xlabel="level of noise on the condition", ylabel="Frechet distance to held-out data")
