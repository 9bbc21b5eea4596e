"""The runs that a request for samples names by their folders, opened: what guides the model, and what steers it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from undiffuse.models.load import load
from undiffuse.recipes.uses import BASE
from undiffuse.sampling.lora import with_lora
from undiffuse.sampling.request import RUNS, SampleRequest
from undiffuse.sampling.run import CONTROLS
from undiffuse.sampling.steering import Control, composed


def with_runs(request: SampleRequest) -> SampleRequest:
    """The request with runs in the place of their folders."""
    named = {name: load(path) for name in RUNS if isinstance(path := getattr(request, name), str | Path)}
    return replace(request, **named)


def steered(model: Any, controls: Sequence[Any], lora: Mapping[str, float] = MappingProxyType({})) -> Any:
    """The model with the LoRA and the controls that are asked for, see `SampleRequest`; itself where it has them.

    A LoRA is of the base, where the model is a base with a control.

    Raises Refused as `with_lora` and `composed` do, and where there is no such run.
    """
    wanted = [Control.of(each) for each in controls]
    names = [str(each) for each in wanted]
    wanted = [] if names == model.facts.get(CONTROLS) else wanted
    if not (wanted or (model.steers and lora)):
        return with_lora(model, lora)
    opened = [
        replace(each, run=load(each.run, device=model.device)) if isinstance(each.run, str | Path) else each
        for each in wanted
    ]
    base = model.recipe.uses.runs[BASE] if model.steers else model
    found = composed(model, opened, with_lora(base, lora).denoiser)
    return replace(found, facts={**found.facts, CONTROLS: names})
