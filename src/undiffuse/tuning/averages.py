"""The best length of a run's averaged weights, found after training on data that it never trained on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from undiffuse.conditions.from_data import examples, tensors
from undiffuse.core import devices
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import of_model
from undiffuse.data.paths import on
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.evaluation.metrics.sliced_wasserstein import sliced_wasserstein
from undiffuse.models.load import load
from undiffuse.recipes import build
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.stored_plan import PLANS
from undiffuse.storage.files import finite, fit, own, write_json
from undiffuse.storage.tensor_file import held
from undiffuse.training import checkpoint
from undiffuse.training.ema import gamma
from undiffuse.training.posthoc import reconstruct, snapshots
from undiffuse.training.prepared import batches
from undiffuse.training.run_lock import run_lock
from undiffuse.training.state import AVERAGE, WEIGHTS
from undiffuse.training.validation import Validation
from undiffuse.tuning.place import FOLDER, draw, tunable
from undiffuse.tuning.place import keep as keep_

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTHS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20, 0.25)
TABLE, CURVE = "ema.json", "ema.png"
COUNT = 500  # samples, where samples are judged

Metric = Literal["validation", "frechet"]
Measure = Callable[[DenoisingGenerator], float]


@dataclass(frozen=True)
class Trial:
    """One set of weights and how it does: the loss on held-out data, and the samples' distance to it where asked for.

    length, gamma, residual: of an average that was made; None for the weights of the checkpoint itself.
    """

    name: str
    step: int
    validation_loss: float
    distance: float | None = None
    length: float | None = None
    gamma: float | None = None
    residual: float | None = None

    @property
    def score(self) -> float:
        """What tuning lowers: the distance where it was measured, else the loss."""
        return self.validation_loss if self.distance is None else self.distance


@devices.on_cpu()
def ema(
    run: Path,
    lengths: Sequence[float] = LENGTHS,
    *,
    metric: Metric = "validation",
    count: int = COUNT,
    keep: bool = False,
    data: str | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trial]:
    """Averages of these lengths beside the checkpoint's averaged and raw weights, each measured; the ladder by length.

    metric: what the best is chosen by: "validation", the loss that training reports, or "frechet", the distance of
    `count` samples to held-out items (of points: sliced Wasserstein). keep: the best becomes the run's model.
    data: where the run's data are now, if they have moved.
    Writes tuning/ema.json and tuning/ema.png when all is measured; nothing before. Raises Refused for a run without
    snapshots or held-out data, and while another process has the run.
    """
    own(run)
    if not lengths:
        raise Refused("give at least one length to try, for example --lengths 0.05,0.1,0.2")
    snapshots(run)
    model = tunable(run)
    model = replace(model, recipe=on(model.recipe, data))
    loss, distance = _measures(model, metric, count)
    lock = run_lock(run)
    try:
        found, best = [], None
        extra = _checkpoint(run)
        total = len(extra) + len(lengths)
        advance(0, total)
        for name, (step, weights) in extra.items():
            found.append(_trial(_with(model, weights), name, step, loss, distance))
            advance(len(found), total)
        for length in sorted(lengths):
            weights, mixture = reconstruct(run, length)
            made = _with(model, weights)
            profile = {"length": length, "gamma": gamma(length), "residual": mixture.residual}
            trial = replace(_trial(made, "post-hoc", snapshots(run)[-1].profile.step, loss, distance), **profile)
            if best is None or trial.score < best[0].score:
                best = trial, weights
            found.append(trial)
            advance(len(found), total)
        assert best is not None
        _write(run, found, best[0], metric)
        if keep:
            _keep(run, _with(model, best[1]), best[0])
    finally:
        lock.release()
    return found


def best(trials: Sequence[Trial]) -> Trial:
    """The average of the ladder with the lowest score."""
    return min((trial for trial in trials if trial.length is not None), key=lambda trial: trial.score)


def _measures(model: DenoisingGenerator, metric: Metric, count: int) -> tuple[Measure, Measure | None]:
    """The loss that training reports, and the distance of samples where it is asked for."""
    settings = build.training(model.recipe)
    if not settings.held_out:
        raise Refused("the run held nothing out (train.held_out = 0): there is nothing to choose a length by")
    loaded = of_model(model)
    held_out = loaded.split(settings.held_out)[1]
    conditions = tensors(model.conditions, held_out.conditions)
    batch = settings.batch // settings.accumulate
    unseen = batches(held_out, conditions, model.codec, batch, settings.seed).to(model.device)
    found = model.recipe.uses
    uses = Uses(partial(load, precision="float32"), dict(found.runs), dict(found.paths))  # a teacher is not inside it
    objective = build.objective(replace(model.recipe, uses=uses))
    objective.to(model.device)
    validation = Validation(objective, unseen)

    def loss(model: DenoisingGenerator) -> float:
        return validation(model.denoiser)

    return loss, _distance(held_out, count) if metric == "frechet" else None


def _distance(held_out: Dataset, count: int) -> Measure:
    """How far samples are from held-out items: the same noise for every model."""
    real = np.asarray(held_out.some(max(count, 1000)).x)

    def distance(model: DenoisingGenerator) -> float:
        known = model.classes if "label" in model.conditions else ()
        classes = [known[i % len(known)] for i in range(count)] if known else None
        given = examples(model.conditions, held_out.conditions, count)
        drawn = model.sample(count, **{"label": classes, **given})
        x, y = (model.codec.encode(each).flatten(1).double().numpy() for each in (drawn, real))
        return sliced_wasserstein(x, y) if len(model.data_shape) == 1 else frechet(x, y)

    return distance


def _checkpoint(run: Path) -> dict[str, tuple[int, dict[str, Tensor]]]:
    """The averaged and the raw weights of the newest checkpoint, with its step; nothing if there is none."""
    path = checkpoint.newest(run)
    if path is None:
        return {}
    with held(path / checkpoint.TENSORS, "checkpoint") as file:
        return {
            name: (int(path.name), {n.removeprefix(prefix): file[n] for n in file if n.startswith(prefix)})
            for name, prefix in (("ordinary", AVERAGE), ("raw", WEIGHTS))
        }


def _with(model: DenoisingGenerator, weights: dict[str, Tensor]) -> DenoisingGenerator:
    """The model with other weights, in place."""
    state = model.denoiser.state_dict()
    finite(weights, "averaged weights")
    model.denoiser.load_state_dict(fit(weights, state, "averaged weights"))
    return model


def _trial(model: DenoisingGenerator, name: str, step: float, loss: Measure, distance: Measure | None) -> Trial:
    measured = loss(model)
    if not math.isfinite(measured):
        raise Refused(f"the loss of the {name} weights is {measured}: the run has diverged")
    return Trial(name, int(step), measured, distance(model) if distance else None)


def _write(run: Path, found: Sequence[Trial], chosen: Trial, metric: Metric) -> None:
    content: dict[str, Any] = {"metric": metric, "best": asdict(chosen), "trials": [asdict(trial) for trial in found]}
    draw(run / FOLDER / CURVE, partial(_curve, found, metric))
    write_json(run / FOLDER / TABLE, content)


def _curve(found: Sequence[Trial], metric: Metric, axes: "Axes") -> None:
    """The score against the length, with the checkpoint's own weights as level lines."""
    ladder = [trial for trial in found if trial.length is not None]
    axes.plot([t.length or 0.0 for t in ladder], [t.score for t in ladder], "o-", color="#2f81f7", label="post-hoc")
    for trial, colour in zip([t for t in found if t.length is None], ("#e4572e", "#8b949e"), strict=False):
        axes.axhline(trial.score, color=colour, ls="--", lw=1, label=f"{trial.name}, step {trial.step}")
    axes.set(xlabel="length of the average, share of the training", ylabel=f"{metric} on held-out data")


def _keep(run: Path, model: DenoisingGenerator, chosen: Trial) -> None:
    """Make the chosen average the run's model; a variance and plans that were tuned belonged to the weights before."""
    kept = {name: fact for name, fact in model.facts.items() if name not in ("variance", PLANS)}
    facts = {**kept, "step": chosen.step, "ema": {k: v for k, v in asdict(chosen).items() if v is not None}}
    keep_(run, replace(model, facts=facts))
