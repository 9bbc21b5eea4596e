"""The runs that a request for samples names by their folders, opened: what guides the model, and what steers it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from undiffuse.models.load import load
from undiffuse.sampling.request import RUNS, SampleRequest
from undiffuse.sampling.steering import Control, composed


def with_runs(request: SampleRequest) -> SampleRequest:
    """The request with runs in the place of their folders."""
    named = {name: load(path) for name in RUNS if isinstance(path := getattr(request, name), str | Path)}
    return replace(request, **named)


def steered(model: Any, controls: Sequence[Any]) -> Any:
    """The model with the controls that are asked for, see `SampleRequest.controlnet`; itself where it has them already.

    Raises Refused as `composed` does, and where there is no such run.
    """
    wanted = [Control.of(each) for each in controls]
    names = [str(each) for each in wanted]
    if not wanted or names == model.facts.get("controls"):
        return model
    opened = [
        replace(each, run=load(each.run, device=model.device)) if isinstance(each.run, str | Path) else each
        for each in wanted
    ]
    found = composed(model, opened)
    return replace(found, facts={**found.facts, "controls": names})
