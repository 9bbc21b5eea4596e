"""Draws the targets of rows: what a run predicts from its inputs is sampled many times for each of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch

from undiffuse.core.arguments import whole
from undiffuse.core.errors import Refused
from undiffuse.recipes.command import command
from undiffuse.recipes.description import Described
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.predictions import Predictions
from undiffuse.sampling.request import SampleRequest

PREDICTS = "predicts"  # where a run's facts say what it predicts, and from what
ROW = 2**32  # draws that a row could have, whatever n is
NUMBERS = 2**25  # of inputs that are in memory together


def inputs_name(model: Described) -> str:
    """The condition that a run predicts from; raises Refused for one that predicts nothing."""
    found = next((name for name, condition in model.conditions.items() if condition.of_item), None)
    if found is None:
        raise Refused(
            "this run draws items and predicts no target of theirs: train one that does, as undiffuse train card "
            "--data FILE.csv --set data.target=COLUMN"
        )
    return found


def refuse_rows(model: Described, request: SampleRequest, run: Path) -> None:
    """Raises Refused, with the command for it, for a run that predicts from rows and was given none."""
    name = next((name for name, condition in model.conditions.items() if condition.of_item), None)
    if name is not None and name not in {*request.conditions, *(option for option, _ in request.condition_words)}:
        raise Refused(
            f"{run} predicts the target of rows, and samples alone say nothing: {command()} predict {quote(str(run))} "
            "ROWS -o predicted.csv, with ROWS a .csv file of the columns that it reads, or data as for training"
        )


def predict(
    model: DenoisingGenerator,
    inputs: np.ndarray,
    n: int = 100,
    request: SampleRequest | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """n draws of the target of each row of inputs, (rows, numbers) in the data's units.

    Draw k of row i depends on the request's seed, i and k only. request: how to sample; its conditions, count and
    indices are those of the rows. advance: is told how many of all draws are done.
    Raises Refused for a run that predicts nothing, and for rows of another length.
    """
    name, asked = inputs_name(model), request or SampleRequest()
    if whole(n, "n") < 1:
        raise Refused(f"n is how often each row is drawn, 1 or more, not {n}")
    if not len(inputs):
        raise Refused("there are no rows to predict")
    told = model.facts.get("data", {}).get(PREDICTS, {})
    few = max(1, NUMBERS // (n * max(1, inputs.shape[1])))
    drawn: list[np.ndarray] = []
    for start in range(0, len(inputs), few):
        part = np.ascontiguousarray(inputs[start : start + few])
        session: Any = model.open(replace(asked, n=len(part), indices=None, conditions={name: part}))
        total = len(inputs) * n * session.steps
        before = start * n * session.steps
        which = (torch.arange(start, start + len(part))[:, None] * ROW + torch.arange(n)).flatten()
        cond = {key: value.repeat_interleave(n, 0) for key, value in session.cond.items()}
        each = replace(
            session, indices=which, cond=cond, progress=lambda done, _, b=before, t=total: advance(b + done, t)
        )
        drawn.append(each.decoded(each.encoded()).numpy().reshape(len(part), n, -1))
    of = tuple(map(str, told.get("targets", ()))) or model.classes
    classes = bool(told.get("classes"))
    called = str(told.get("name") or (of[0] if not classes else "label"))
    return Predictions(np.concatenate(drawn), of, classes, called, str(told.get("aim", {}).get("form", "")))
