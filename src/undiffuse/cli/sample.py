"""`undiffuse sample`: draw from a run and write pictures or arrays."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.manners import duration, progress
from undiffuse.drawing.forms import Film, Form, choose


def sample(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    n: Annotated[
        int | None, Option("-n", "--count", help="How many. [default: 100; 10 in a strip; 1000 points]")
    ] = None,
    sampler: options.Sampler = None,
    settings: options.Settings = None,
    steps: options.Steps = None,
    label: Annotated[str | None, Option(help="A class, by number or name. [default: the classes in turn]")] = None,
    text: Annotated[str | None, Option(help="A caption, of a model that takes texts.")] = None,
    image: Annotated[
        str | None, Option(metavar="FILE", help="An image beside the sample, such as a small one.")
    ] = None,
    map_: Annotated[str | None, Option("--map", metavar="FILE", help="The same, of the condition `map`.")] = None,
    vector: Annotated[str | None, Option(metavar="A,B,C", help="Numbers, of a model that takes some.")] = None,
    condition: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="Any condition, by the name that `undiffuse show` says.")
    ] = None,
    guidance: options.Guidance = None,
    seed: Annotated[int, Option(help="Sample i depends on the seed and on i only, whatever the batch.")] = 0,
    batch: Annotated[int | None, Option(help="At most so many at once. [default: what fits memory]")] = None,
    form: Annotated[
        Form | None,
        Option("--format", help="One picture, a folder of them, arrays, or a table. [default: grid; csv of a table]"),
    ] = None,
    trajectory: Annotated[Film | None, Option(help="The way from noise to sample, as one picture or animated.")] = None,
    precision: options.Precision = "auto",
    out: Annotated[Path | None, Option("-o", "--out", help="Where to write. [default: inside the run folder]")] = None,
) -> None:
    """Draw samples from a run.

    \b
    undiffuse sample runs/digits -n 100 -o grid.png
    undiffuse sample runs/digits -n 10 --label 3 --sampler ddim --set eta=0.5 --steps 20
    undiffuse sample runs/digits -n 5000 --format npz -o samples.npz
    undiffuse sample runs/emoji --text "a red heart" --guidance 3
    undiffuse sample runs/faces --image small.png --condition style=0.1,0.7
    undiffuse sample runs/digits --trajectory gif -o denoising.gif
    undiffuse sample runs/flowers -n 1000 -o flowers.csv
    undiffuse sample runs/heartbeat -n 5 -o beats.csv
    """
    from undiffuse.drawing import content
    from undiffuse.drawing.draw import Wish, columns, draw, dtype, has_tokens, unroll
    from undiffuse.model.files import own
    from undiffuse.model.model import load
    from undiffuse.model.words import pairs

    choose(form, trajectory, out)  # refuses what excludes each other before the model is read
    named = {"text": text, "image": image, "map": map_, "vector": vector}
    told = [(name, value) for name, value in named.items() if value is not None]
    wish = Wish(seed, sampler, settings or (), steps, guidance, label, batch, [*told, *pairs(condition or ())])
    model = load(run, precision=precision)
    tokens = has_tokens(model)
    writer = choose(form, trajectory, out, table=bool(columns(model)) or tokens)
    writer.fits(model.shape, dtype(model))
    if out is None:
        own(run)  # where links could lead what is written elsewhere
    target = writer.place(out, run)
    count = writer.count(points=len(model.shape) == 1 and not tokens) if n is None else n
    with progress("sampling", "step") as advance:
        drawn = (unroll if writer.moves else draw)(model, count, wish, advance)
    writer.write(drawn, target)
    if tokens:
        print(content.text(drawn.x))
    print(f"{target}: {count} samples, {drawn.calls:g} network calls a sample, {duration(drawn.seconds)}, seed {seed}")
