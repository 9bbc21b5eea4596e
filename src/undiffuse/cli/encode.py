"""`undiffuse encode`: write the latents of data, for a model of latents to train on."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli.terminal import progress, tell
from undiffuse.storage import output_paths


def encode(
    run: Annotated[Path, Argument(metavar="RUN", help="The run of an autoencoder, or of a model of latents.")],
    data: Annotated[str, Argument(metavar="DATA", help="A folder, a file or a data component, as for training.")],
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE ...", help="How to read it: --set data.size=64 data.labels=none"),
    ] = None,
    seed: Annotated[
        int | None, Option(min=0, help="Draw the latents from the posterior, by this seed. [default: its mode]")
    ] = None,
    out: Annotated[
        Path | None, Option("-o", "--out", help="An .npz file. [default: latents.npz in the run folder]")
    ] = None,
) -> None:
    """Encode data to latents. Labels, captions, statistics and the name of the run stand beside them.

    \b
    undiffuse encode runs/kl photos/ --set size=64 -o latents.npz
    undiffuse train images --data latents.npz --set codec.name=whiten --out runs/latents

    Of an autoencoder's run the latents are as its encoder gives them; of a model of latents as it sees them, which is
    normalised.
    """
    from undiffuse.data.latent_file import write_latents
    from undiffuse.data.resolve import open_with
    from undiffuse.editing.latents import encode
    from undiffuse.models.load import load

    target = output_paths.file(out, run, "latents.npz")
    model = load(run, "float32")
    items = open_with(data, settings or ())
    with progress("encoding", "item") as advance:
        latents, made = encode(model, items, str(run), seed, advance)
    write_latents(target, latents, made, items)
    shape = " x ".join(map(str, latents.shape[1:]))
    kind = "normalised" if made.normalised else "as the encoder gives them"
    tell(f"{target}: {len(latents)} latents of {shape}, {kind}")
