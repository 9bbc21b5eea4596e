"""How often the views of a scene are recognised as what it was asked for."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from undiffuse.conditions.label import LABEL
from undiffuse.core.errors import Refused
from undiffuse.data.derived_conditions import of_model
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.classifier import train_classifier
from undiffuse.evaluation.metrics.metric import verdict
from undiffuse.evaluation.record import Recorded, written
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.run import Run

COUNT, TOGETHER = 200, 8  # views at most, and those that are rendered at once


@dataclass(frozen=True)
class ViewAccuracy(Recorded):
    """asked: the class that the scene was asked for. share: of views that are read as it; real: of the prior's held-out
    items whose class is read.
    """

    asked: str
    share: float
    real: float

    def printed(self) -> Iterator[Any]:
        yield (
            f"{self.share:.1%} of {self.about['count']} held-out views are read as {self.asked!r}; a reader of the "
            f"prior's data, which is right on {self.real:.1%} of held-out items"
        )
        yield from self.warnings()


def judge_views(model: Any, prior: Run, asked: EvaluationRequest) -> ViewAccuracy:
    """Views from cameras that were held out, or images, read by a classifier that is trained on the prior's data, or on
    those of `against`. Raises Refused where the prior has no classes, or the scene was asked for none.
    """
    started, label = time.perf_counter(), model.scene.prior.settings.conditions.get(LABEL)
    _refuse_of_samples(asked)
    if label is None or not prior.classes:
        raise Refused(
            "views are read as one of the prior's classes, and this scene was asked for none: "
            "prior.conditions.label names one"
        )
    real = sources.against(prior, asked.against)
    if real.train.labels is None or real.held_out.labels is None:
        raise Refused(f"{real.train.name} has no classes to read views as: {', '.join(prior.classes)}")
    reader = train_classifier(_flat(real.train.x), real.train.labels)
    right = float((reader(_flat(real.held_out.x)) == real.held_out.labels).mean())
    cameras = sources.of_run(model).held_out if model.solid else of_model(model).some(model.scene.renderable.items())
    x = torch.from_numpy(np.asarray(cameras.some(COUNT).x))
    views = torch.cat([model.views(x[rows], rows) for rows in torch.arange(len(x)).split(TOGETHER)])
    told = model.scene.prior.conditions(x)[LABEL].numpy()  # of a class by number, by name or with {view}
    label = prior.classes[told[0]] if isinstance(label, int) else label
    share = float((reader(_flat(views.numpy())) == told).mean())
    judged = verdict(share, right, better="higher", count=len(views), seed=asked.request.seed)
    about = written(model, asked, real, {"accuracy": judged}, len(views), started, asked=label)
    return ViewAccuracy(about, label, share, right)


def _refuse_of_samples(asked: EvaluationRequest) -> None:
    """Raises Refused for metrics and for settings of drawing: a scene has one number, of views that are not drawn."""
    metrics = () if asked.how is None else asked.how.metrics
    if named := [f"metric {name}" for name in metrics] + [name for name in asked.request.to_json() if name != "seed"]:
        raise Refused(
            f"{named[0]} is for runs that draw samples: a scene is judged by how many of its held-out views are "
            "recognised, by `undiffuse evaluate` without it"
        )


def _flat(x: Any) -> np.ndarray:
    return np.asarray(x).reshape(len(x), -1).astype(np.float32)
