"""`undiffuse import`: make a run of what another library wrote."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli.terminal import count, tell


def import_(
    folder: Annotated[
        Path, Argument(metavar="FOLDER|FILE", help="The folder of a diffusers pipeline or model, or a single file.")
    ],
    out: Annotated[Path, Option("-o", "--out", metavar="RUN", help="The run folder to write.")],
    base: Annotated[Path | None, Option(metavar="RUN", help="Of a ControlNetModel: the run that it steers.")] = None,
) -> None:
    """Make a run of a folder of diffusers. Then it samples, is edited, fine-tuned and evaluated as any other run.

    \b
    undiffuse import stable-diffusion -o runs/sd
    undiffuse sample runs/sd --text "a red boat" -o boat.png
    undiffuse import controlnet-canny --base runs/sd -o runs/canny
    undiffuse sample runs/canny --text "a red boat" --condition picture=edges.png -o boat.png

    Other commands read such a folder by themselves, too: this writes it once, as a run's own file.
    """
    from undiffuse.conversion.pipelines.controlnet import ControlNetPipeline
    from undiffuse.core.errors import Refused
    from undiffuse.models.load import load

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} is there already: name a folder that is not, or an empty one")
    if base is None:
        run = load(folder, "float32", "cpu")
    else:
        run = ControlNetPipeline().on(folder, load(base, "float32", "cpu"), str(base.absolute()))
    run.save(out)
    run.recipe.save(out)
    tell(f"{out}: {run.what}, {count(run.parameters)} parameters")
