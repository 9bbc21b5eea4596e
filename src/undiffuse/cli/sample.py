"""`undiffuse sample`: draw from a run and write pictures or arrays."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli.manners import duration, progress
from undiffuse.drawing.forms import Film, Form, choose


def sample(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    n: Annotated[
        int | None, Option("-n", "--count", help="How many. [default: 100; 10 in a strip; 1000 points]")
    ] = None,
    sampler: Annotated[str | None, Option(help="One of `undiffuse list samplers`. [default: the recipe's]")] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="FIELD=VALUE ...", help="Fields of the sampler: eta=0.5")
    ] = None,
    steps: Annotated[int | None, Option(help="Sampler steps. [default: the recipe's, else 20]")] = None,
    label: Annotated[str | None, Option(help="A class, by number or name. [default: the classes in turn]")] = None,
    guidance: Annotated[
        float | None, Option(help="Weight of the condition; 1 is none. [default: the recipe's]")
    ] = None,
    seed: Annotated[int, Option(help="Sample i depends on the seed and on i only, whatever the batch.")] = 0,
    batch: Annotated[int | None, Option(help="At most so many at once. [default: what fits memory]")] = None,
    form: Annotated[
        Form | None, Option("--format", help="One picture, a folder of pictures, or arrays. [default: grid]")
    ] = None,
    trajectory: Annotated[Film | None, Option(help="The way from noise to sample, as one picture or animated.")] = None,
    precision: Annotated[str, Option(help="auto, float32 or bfloat16.")] = "auto",
    out: Annotated[Path | None, Option("-o", "--out", help="Where to write. [default: inside the run folder]")] = None,
) -> None:
    """Draw samples from a run.

    \b
    undiffuse sample runs/digits -n 100 -o grid.png
    undiffuse sample runs/digits -n 10 --label 3 --sampler ddim --set eta=0.5 --steps 20
    undiffuse sample runs/digits -n 5000 --format npz -o samples.npz
    undiffuse sample runs/digits --trajectory gif -o denoising.gif
    """
    from undiffuse.drawing.draw import Wish, draw, unroll
    from undiffuse.model.model import load

    writer = choose(form, trajectory, out)
    wish = Wish(seed, sampler, settings or (), steps, guidance, label, batch)
    model = load(run, precision=precision)
    target = writer.place(out, run)
    count = writer.count(images=len(model.shape) > 1) if n is None else n
    with progress("sampling", "step") as advance:
        drawn = (unroll if writer.moves else draw)(model, count, wish, advance)
    writer.write(drawn, target)
    print(f"{target}: {count} samples, {drawn.calls:g} network calls a sample, {duration(drawn.seconds)}, seed {seed}")
