"""What is edited, as a person gives it, and whether a model can edit it."""

from typing import Any

import numpy as np
from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Described
from undiffuse.sampling import items
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.run import Run
from undiffuse.sampling.session import Session


def refuse_uneditable(model: Any) -> None:
    """Raises Refused for what is no run with a denoiser, nor a chain of such."""
    if not isinstance(model, Run):
        raise Refused(f"model is a run, as `undiffuse.load` returns, not {arguments.shown(model)}")
    run: Any = model
    if not (run.denoises or (run.draws and run.stages)):
        use = "`complete` keeps what is known" if run.completes else run.next_step(run.recipe.home or "RUN")
        raise Refused(f"edits are made by a denoiser, and {run.what} has none: {use}")


def refuse_stages(model: Generator) -> None:
    """Raises Refused for a chain, where an edit is of one run."""
    if model.stages:
        raise Refused(
            "a chain is edited by --mask and --strength, in Python inpaint and vary, which each stage does at its own "
            "size; for another edit take one of its stages: undiffuse export CHAIN --format stages -o FOLDER"
        )


def opened(model: Generator, request: Any, options: dict[str, Any], n: int, *, tokens: bool = False) -> Session:
    """The request opened on a model of values, or of tokens; raises Refused for others, and as `sample` does."""
    refuse_uneditable(model)
    refuse_stages(model)
    denoising: Any = model
    session = denoising.open(request, n=n, **options).untuned()
    family = "tokens" if model.codec.tokens else denoising.denoiser.process.family
    if family != ("tokens" if tokens else "values"):
        what = "infilling is for models of tokens" if tokens else "editing is for models of values"
        raise Refused(f"{what}; this one is of {'values and tokens together' if family == 'mixed' else family}")
    return session


def item(model: Generator, x: Any, name: str, shape: tuple[int, ...] | None = None, real: bool = False) -> np.ndarray:
    """One item in the data's units and dtype, (*shape) or (1, *shape): (1, *shape). real: see `items.item`.

    Raises Refused, with both shapes, where it is no item of the model's, and for numbers that such do not have.
    """
    wanted = model.data_shape if shape is None else shape
    found = items.item(model.codec, x, name, real)
    found = found if found.ndim > len(wanted) else found[None]
    if found.shape != (1, *wanted):
        raise Refused(f"the model's samples have the shape {wanted}, and this is {found.shape[1:]}")
    return found


def encoded(model: Generator, x: Any, name: str, shape: tuple[int, ...] | None = None, real: bool = False) -> Tensor:
    """`item` as the network sees it: (1, *shape)."""
    return model.codec.encode(item(model, x, name, shape, real)).to(model.device)


def difference(model: DenoisingGenerator, first: Tensor, second: Tensor) -> float:
    """The root mean square difference of two encoded items, in the data's units."""
    if model.codec.lossy:
        return float((model.codec.decode(first).double() - model.codec.decode(second).double()).square().mean().sqrt())
    return float((first - second).double().square().mean().sqrt()) / unit(model)


def unit(model: DenoisingGenerator) -> float:
    """How many encoded units one unit of the data is, on average over an item; raises Refused where it is none."""
    if model.codec.lossy:
        raise Refused(
            "this run is of latents, in which a measurement or the noise of a picture is none: of such runs there are "
            "--mask, --strength, --size and --between, in Python inpaint, vary, outpaint and between"
        )
    ends = [model.codec.encode(np.full((1, *model.data_shape), value, np.float32)) for value in (0.0, 1.0)]
    return float((ends[1] - ends[0]).double().mean())


def embedding(model: Described) -> str | None:
    """The name of the one condition that lies in the space of a pair of encoders and is no text; None without one."""
    found = [name for name, condition in model.conditions.items() if condition.space and not condition.says]
    return found[0] if len(found) == 1 else None
