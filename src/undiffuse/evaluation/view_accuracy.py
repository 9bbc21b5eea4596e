"""How often the views of a scene are recognised as what it was asked for."""

import re
import time
from collections.abc import Iterator, Sequence
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
    those of `against`. Raises Refused where these have no classes, or the scene was asked for none of them.
    """
    started = time.perf_counter()
    _refuse_of_samples(asked)
    real = sources.against(prior, asked.against)
    if real.train.labels is None or real.held_out.labels is None:
        raise Refused(f"{real.train.name} has no classes to read views as")
    cameras = sources.of_run(model).held_out if model.solid else of_model(model).some(model.scene.renderable.items())
    x = torch.from_numpy(np.asarray(cameras.some(COUNT).x))
    told, label = _asked(model.scene.prior, x, real.train.classes)
    reader = train_classifier(_flat(real.train.x), real.train.labels)
    right = float((reader(_flat(real.held_out.x)) == real.held_out.labels).mean())
    views = torch.cat([model.views(x[rows], rows) for rows in torch.arange(len(x)).split(TOGETHER)])
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


def _asked(prior: Any, cameras: torch.Tensor, classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """The class that each view was asked for, (views,), and its name: that of the label, else the one that words name.
    Raises Refused for no label, and texts with the names of none or several.
    """
    given = prior.settings.conditions
    if LABEL in given:  # by number, by name or with {view}
        told = prior.conditions(cameras)[LABEL].numpy()
        return told, prior.run.classes[told[0]] if isinstance(given[LABEL], int) else given[LABEL]
    words = " ".join(value for value in given.values() if isinstance(value, str))
    named = [i for i, name in enumerate(classes) if re.search(rf"\b{re.escape(name)}\b", words)]
    if len(named) != 1:
        raise Refused(
            f"views are read as one of {', '.join(classes)}, and the scene was asked for "
            f"{words or 'none'!r}: prior.conditions.label names one, or a text does"
        )
    return np.full(len(cameras), named[0]), classes[named[0]]


def _flat(x: Any) -> np.ndarray:
    return np.asarray(x).reshape(len(x), -1).astype(np.float32)
