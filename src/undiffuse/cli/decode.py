"""`undiffuse decode`: make data of latents."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli.terminal import progress, tell
from undiffuse.sampling.file_formats import Form, choose


def decode(
    run: Annotated[Path, Argument(metavar="RUN", help="The run of an autoencoder, or of a model of latents.")],
    latents: Annotated[Path, Argument(metavar="LATENTS", help="An .npz or .npy file.")],
    form: Annotated[
        Form | None,
        Option("--format", help="One picture, a folder of them, arrays, or a table. [default: the suffix; grid]"),
    ] = None,
    out: Annotated[
        Path | None,
        Option("-o", "--out", help="A file, whose suffix says the format, or a folder. [default: in the run folder]"),
    ] = None,
) -> None:
    """Decode latents to data in their own units. They are of `undiffuse encode`, or drawn by a model of latents.

    \b
    undiffuse decode runs/kl latents.npz -o pictures.png
    undiffuse sample runs/latents -n 1000 -o drawn.npz
    undiffuse decode runs/kl drawn.npz --format png -o drawn
    """
    import torch

    from undiffuse.data.resolve import open_with
    from undiffuse.editing.latents import decode
    from undiffuse.models.load import load
    from undiffuse.sampling.samples import Samples

    writer = choose(form, None, out)
    target = writer.place(out, run)
    model = load(run, "float32")
    writer.fits(model.data_shape, model.codec.dtype)
    items = open_with(str(latents))
    with progress("decoding", "item") as advance:
        made = decode(model, items, str(run), advance)
    labels = None if items.labels is None else torch.as_tensor(items.labels)
    captions = list(items.conditions.get("text", ()))
    writer.write(Samples.made(made, model.description, labels, items.classes, captions), target)
    tell(f"{target}: {len(made)} items")
