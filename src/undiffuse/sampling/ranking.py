"""Of several candidates for each sample the best: of texts that nearest to the others, of vectors that to its text."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Described
from undiffuse.sampling.minimum_bayes_risk import consensus
from undiffuse.sampling.request import SampleRequest


def with_candidates(model: Described, request: SampleRequest, usual: int) -> SampleRequest:
    """The request with its number of candidates, or the usual one where there is a best of them.

    Raises Refused where candidates are asked for and there is no best of them.
    """
    try:
        _refuse_unranked(model, usual if request.candidates is None else request.candidates, request)
    except Refused:
        if request.candidates is not None or request.rank:
            raise
        return request
    return replace(request, candidates=usual) if request.candidates is None and usual > 1 else request


def _refuse_unranked(model: Described, candidates: int, request: SampleRequest) -> None:
    rank = request.rank
    if candidates == 1:
        if rank:
            raise Refused(
                f"rank = {rank!r} chooses the best of several candidates: say of how many, as candidates = 10"
            )
        return
    if model.codec.reader is None and not model.codec.space:
        raise Refused(
            f"candidates = {candidates} are of texts and of vectors of a pair of encoders, the best of which is kept, "
            "and this run makes none"
        )
    able = "consensus" if model.codec.reader is not None else "similarity"
    if rank not in ("", able):
        raise Refused(f"rank = {rank!r} is not for what this run makes, whose best is told by {able!r}")
    if able == "similarity" and _text(model, request.conditions) is None:
        raise Refused("candidates are ranked by their similarity to a text: say which, as text = 'a red heart'")


def best(model: Described, x: Tensor, cond: Mapping[str, Tensor], of: int) -> Any:
    """The indices of the chosen ones of x (n * of, ...), one of each group of `of` neighbours: (n,); a slice of all
    where each stands alone.

    Of texts see `consensus`; of vectors the one with the greatest dot product with the vector of the text. cond: the
    conditions of the rows, as networks take them. Source: arXiv:2204.06125, sec. 2.2 (vectors, there of 2).
    """
    if of == 1:
        return slice(None)
    if model.codec.reader is not None:
        return consensus(x.numpy(), of, model.codec.pad)
    name = _text(model, cond)
    assert name is not None
    told = F.normalize(cond[name][:, -1, : x.shape[1]].cpu().to(x), dim=1)
    chosen = (x * told).sum(1).reshape(-1, of).argmax(1)
    return np.arange(len(chosen)) * of + chosen.numpy()


def _text(model: Described, cond: Mapping[str, Any]) -> str | None:
    """The name of the text, among these conditions, whose last row lies in the space of the vectors."""
    known = model.conditions
    asked = [name for name, value in cond.items() if value is not None and name in known]
    return next((name for name in asked if known[name].says and known[name].space), None)
