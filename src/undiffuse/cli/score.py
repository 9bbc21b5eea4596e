"""`undiffuse score`: say how likely a run finds each datum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import console, progress
from undiffuse.core.errors import Refused
from undiffuse.storage import output_paths

TOLERANCE = 1e-4


@options.sampling(without=("label",))
def score(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder.")],
    data: Annotated[str, Argument(metavar="DATA", help="A folder, a file or a data component, as for training.")],
    out: Annotated[
        Path | None, Option("-o", "--out", help="A .csv file. [default: scores.csv in the run folder]")
    ] = None,
    bound: Annotated[bool, Option("--bound", help="The variational bound as well: slower.")] = False,
    given: Annotated[
        str | None,
        Option(metavar="A,B|all", help="p(item given its own condition, such as label), else p(item)."),
    ] = None,
    *,
    conditions: Sequence[tuple[str, str]],
    tolerance: Annotated[float, Option(help="Of the ODE's solver, relative and absolute.")] = TOLERANCE,
    probes: Annotated[int, Option(help="Random directions of the trace; from 2 on a column has their error.")] = 1,
    draws: Annotated[int, Option(help="Noises that spread levels; from 2 on columns have error and cost.")] = 1,
    start: Annotated[float, Option(help="The time where the ODE ends; below 1 if noise prediction needs it.")] = 1.0,
    seed: options.Seed = 0,
) -> None:
    """Write the log-density of each item. Low ones are unlike what the run was trained on.

    \b
    undiffuse score runs/digits others.npz -o scores.csv
    undiffuse score runs/flowers new-flowers.csv --bound
    undiffuse score runs/digits others.npz --given label
    undiffuse score runs/emoji pictures/ --text "a red heart"

    Nats and bits per dimension in the data's own units; of integers, such as pixels, the log-probability of the levels.
    """
    from undiffuse.conditions.given import from_words
    from undiffuse.evaluation import nll
    from undiffuse.evaluation.level_likelihood import level_likelihood
    from undiffuse.evaluation.sources import counted
    from undiffuse.models.load import scoring
    from undiffuse.storage.files import write_bytes

    own = given == "all" or [name.strip() for name in (given or "").split(",") if name.strip()]
    target = output_paths.file(out, run, "scores.csv")
    model = scoring(run)
    where = model.recipe["data"].get("conditions", {})  # in the run's own data, and so in others like them
    where = {name: place for name, place in where.items() if given == "all" or (own is not True and name in own)}
    fields: Any = {"conditions": where} if where else {}
    same = from_words(model.conditions, conditions)
    items = counted(data, model, own is True or "label" in own, **fields)
    with progress("scoring", "item") as density, progress("bounding", "call") as bounding:
        if model.levelled:
            _refuse_of_denoisers(bound, tolerance, probes, start)
            of: dict[str, Any] = {"given": own, "conditions": same, "draws": draws, "seed": seed, "advance": density}
            found = level_likelihood(model, model.module, items, **of)
        else:
            found = nll.score(
                model,
                items,
                bound=bound,
                given=own,
                conditions=same,
                tolerance=tolerance,
                probes=probes,
                draws=draws,
                start=start,
                seed=seed,
                density=density,
                bounding=bounding,
            )
    write_bytes(target, found.table(items).encode())
    console().print("\n".join(nll.lines(found.summary())))
    print(f"written to {target}")


def _refuse_of_denoisers(bound: bool, tolerance: float, probes: int, start: float) -> None:
    """Raises Refused for what only a run with a denoiser is asked: of others there is one number, and no ODE."""
    asked = {"bound": bound, "tolerance": tolerance != TOLERANCE, "probes": probes != 1, "start": start != 1.0}
    for name, said in asked.items():
        if said:
            raise Refused(f"--{name} is for runs with a denoiser: this one gives the probability of an item itself")
