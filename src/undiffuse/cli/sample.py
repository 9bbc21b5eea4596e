"""`undiffuse sample`: draw from a run and write pictures or arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import progress, tell
from undiffuse.progress import duration
from undiffuse.sampling.file_formats import Film, Form, choose


def sample(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    n: Annotated[
        int | None, Option("-n", "--count", help="How many. [default: 100; 10 in a strip; 1000 points]")
    ] = None,
    sampler: options.Sampler = None,
    settings: options.Settings = None,
    steps: options.Steps = None,
    label: options.Label = None,
    text: options.Text = None,
    image: options.Picture = None,
    map_: options.Map = None,
    vector: options.Vector = None,
    condition: options.Condition = None,
    guidance: options.Guidance = None,
    interval: options.Interval = None,
    rescale: options.Rescale = None,
    threshold: options.Threshold = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    classifier: options.Classifier = None,
    by: options.By = "guess",
    control: options.Control = None,
    control_weight: options.ControlWeight = 0.01,
    mbr: options.Mbr = 1,
    seed: Annotated[
        int, Option(min=0, max=options.SEED, help="Sample i depends on the seed and on i only, whatever the batch.")
    ] = 0,
    indices: Annotated[
        str | None, Option(metavar="3,7,10-12", help="Draw these samples again, counted from 0. [default: the first n]")
    ] = None,
    batch: Annotated[int | None, Option(help="At most so many at once. [default: what fits memory]")] = None,
    form: Annotated[
        Form | None,
        Option(
            "--format",
            help="One picture, a folder of them, arrays, or a table. [default: the suffix; grid; csv of a table]",
        ),
    ] = None,
    trajectory: Annotated[Film | None, Option(help="The way from noise to sample, as one picture or animated.")] = None,
    precision: options.Precision = "auto",
    out: Annotated[
        Path | None,
        Option(
            "-o",
            "--out",
            help="A file, whose suffix says the format, a folder, or - for stdout. [default: in the run folder]",
        ),
    ] = None,
) -> None:
    """Draw samples from a run.

    \b
    undiffuse sample runs/digits -n 100 -o grid.png
    undiffuse sample runs/digits -n 10 --label 3 --sampler ddim --set eta=0.5 --steps 20
    undiffuse sample runs/digits -n 5000 -o samples.npz
    undiffuse sample runs/emoji --text "a red heart" --guidance 3 --interval 0.2,5
    undiffuse sample runs/faces --image small.png --condition style=0.1,0.7
    undiffuse sample runs/digits --label 3 --classifier runs/digits-classifier --guidance 2
    undiffuse sample runs/digits -o denoising.gif
    undiffuse sample runs/digits --indices 4 -o again.png
    undiffuse sample runs/flowers -n 1000 -o flowers.csv
    undiffuse sample runs/heartbeat -n 5 -o beats.csv
    undiffuse sample runs/speeches -n 5 --temperature 0.8 --top-p 0.95 -o speeches.txt
    undiffuse sample runs/text-diffusion-lm -n 5 --control "keyword:war" --control "length:12" --mbr 10
    """
    from undiffuse.models.load import generator
    from undiffuse.sampling import file_content
    from undiffuse.sampling.request import SampleRequest, columns, draw, dtype, has_tokens, reader, unroll
    from undiffuse.sampling.steering import Steering
    from undiffuse.storage import output_paths
    from undiffuse.storage.files import own

    writer = choose(form, trajectory, out)  # refuses what excludes each other, and places, before the model is read
    if out is not None:
        writer.place(out, run)
    which = options.indices(indices, n)
    told = options.told(condition, text=text, image=image, map=map_, vector=vector)
    steering = Steering.read(guidance, interval, rescale, threshold, temperature, top_k, top_p)
    model = generator(run, precision=precision)
    leads = options.classifier(classifier)
    wish = SampleRequest(seed, sampler, settings or (), steps, steering, label, batch, told, classifier=leads, form=by)
    wish = replace(wish, control=control or (), control_weight=control_weight, mbr=mbr, indices=which)
    tokens = has_tokens(model)
    reads = reader(model.codec) is not None
    writer = choose(form, trajectory, out, bool(columns(model)) or tokens, reads)
    writer.fits(model.shape, dtype(model))
    if out is None:
        own(run)  # where links could lead what is written elsewhere
    target = writer.place(out, run)
    usual = writer.count(points=len(model.shape) == 1 and not tokens)
    count = len(which) or (usual if n is None else n)
    with progress("sampling", "step") as advance:
        drawn = (unroll if writer.moves else draw)(model, count, wish, advance)
    writer.write(drawn, target)
    if tokens and target != output_paths.STDOUT:
        print(file_content.text(drawn))
    where = "stdout" if target == output_paths.STDOUT else target
    cost = f"{drawn.calls:g} network calls a sample, {duration(drawn.seconds)}"
    said = " ".join([drawn.steering.words(), drawn.by]).strip()
    tell(", ".join(filter(None, [f"{where}: {count} samples", cost, said, f"seed {seed}"])))
