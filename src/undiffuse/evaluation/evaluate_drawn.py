"""The evaluation of a run that draws without a denoiser: its samples, and how likely it finds held-out data."""

import time
from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.evaluation import sources
from undiffuse.evaluation.evaluate import (
    DrawnEvaluation,
    describe,
    enough,
    known_labels,
    likelihood,
    refuse_few,
    refuse_lossy,
    sampling,
    usual,
    with_examples,
)
from undiffuse.evaluation.judge import NLL, Judge
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.generator import Generator


def evaluate_drawn(model: Generator, asked: EvaluationRequest) -> DrawnEvaluation:
    """Draw n samples and judge them against what the run held out, or other data that is new to it.

    n: as of `evaluate_run`. Where no metric is named it is also asked how likely it finds held-out data, if it can say.
    Raises Refused, with both shapes, for data of another shape, and for the metric nll of a run without a likelihood.
    """
    how: Judge = asked.how or Judge()
    real, seed = sources.against(model, asked.against), asked.request.seed
    if model.data_shape != real.held_out.shape:
        raise Refused(
            f"the run makes samples of shape {model.data_shape}, and items of {real.held_out.name} have "
            f"{real.held_out.shape}"
        )
    if NLL in how.metrics:
        refuse_lossy(model)
    n = usual(max(1, len(model.classes)), enough(how, real)) if asked.request.n is None else asked.request.n
    refuse_few(model, real, asked.against, n)
    started = time.perf_counter()
    wanted = NLL in how.metrics or not (how.metrics or model.no_likelihood())
    scores = model.scores(real.held_out, seed, asked.bar) if wanted else None
    with asked.bar("sampling", "item") as advance:
        drawn = model.open(with_examples(model, real, asked.request, n), progress=advance).draw()
    with asked.bar("judging", "metric") as advance:
        judged = how(drawn.x, real, seed, known_labels(drawn, real), advance)
    more: dict[str, Any] = {} if scores is None else {"likelihood": likelihood(scores, real)}
    about = describe(
        asked.command, seed, n, started, judged,
        sampling=sampling(drawn) | {"network_calls": drawn.calls, "seconds": round(drawn.seconds, 2)},
        against=asked.against or f"held-out part of {real.held_out.name}", step=model.facts.get("step"), **more,
    )  # fmt: skip
    return DrawnEvaluation(judged, real, about, model, drawn, scores)
