"""`undiffuse sample`: draw from a run and write pictures or arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import progress, tell
from undiffuse.progress import duration
from undiffuse.sampling.file_formats import Film, Form, choose
from undiffuse.sampling.request import SampleRequest


@options.sampling(help={"n": "How many. [default: 100; 10 in a strip; 1000 points]"})
def sample(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    *,
    request: SampleRequest,
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
    undiffuse sample runs/photos --controlnet runs/photos-edges:0.8 --condition edges=edges.png
    undiffuse sample runs/digits -o denoising.gif
    undiffuse sample runs/digits --indices 4 -o again.png
    undiffuse sample runs/flowers -n 1000 -o flowers.csv
    undiffuse sample runs/heartbeat -n 5 -o beats.csv
    undiffuse sample runs/speeches -n 5 --temperature 0.8 --top-p 0.95 -o speeches.txt
    undiffuse sample runs/text-diffusion-lm -n 5 --control "keyword:war" --control "length:12" --candidates 10
    undiffuse sample runs/solids-scene -o turntable.gif
    undiffuse sample runs/solids-scene -o mesh.obj
    undiffuse sample runs/point-clouds -o cloud.ply
    undiffuse sample runs/moving-digits -n 9 -o digits.gif
    """
    from undiffuse.models.load import generator
    from undiffuse.models.named_runs import steered
    from undiffuse.sampling import file_content
    from undiffuse.sampling.data_frame import columns
    from undiffuse.sampling.guidance import words
    from undiffuse.sampling.predicting import refuse_rows
    from undiffuse.sampling.samples import VIDEO_AXES, kind
    from undiffuse.sampling.session import labels_in_turn
    from undiffuse.storage import output_paths
    from undiffuse.storage.files import own

    writer = choose(form, trajectory, out)  # refuses what excludes each other, and places, before the model is read
    if out is not None:
        writer.place(out, run)
    model = steered(generator(run, precision=precision), request.controlnet)
    refuse_rows(model, request, run)
    kinds = kind(model, len(model.data_shape))
    tokens = kinds in ("texts", "tokens")
    moves = len(model.data_shape) == VIDEO_AXES
    writer = choose(form, trajectory, out, bool(columns(model)) or tokens, kinds == "texts", moves)
    writer.fits(model.data_shape, model.data_dtype)
    if out is None:
        own(run)  # where links could lead what is written elsewhere
    target = writer.place(out, run)
    if request.n is None and request.indices is None:
        several = writer.count(points=len(model.data_shape) == 1 and not tokens)
        request = replace(request, n=several if writer.solid else model.usual or several)
    with progress("sampling", "step") as advance:
        session = model.open(labels_in_turn(model, request), progress=advance)
        drawn = session.solid() if writer.solid else session.film() if writer.moves else session.draw()
    writer.write(drawn, target)
    if tokens and target != output_paths.STDOUT:
        print(file_content.text(drawn))
    where = "stdout" if target == output_paths.STDOUT else target
    cost = f"{drawn.calls:g} network calls a sample, {duration(drawn.seconds)}"
    of = "video" if kinds == "videos" else "sample"
    count = f"{len(drawn)} {of}{'s' * (len(drawn) != 1)}"
    if drawn.mesh is not None:
        count = f"a mesh of {len(drawn.mesh.vertices):,} vertices"
    elif model.usual is not None and drawn.frames is not None:
        count = f"{len(drawn.frames) * len(drawn)} views"
    said = [f"{where}: {count}", cost, drawn.tuned, words(session.request), f"seed {request.seed}"]
    tell(", ".join(filter(None, said)))
