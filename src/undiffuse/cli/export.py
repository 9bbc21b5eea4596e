"""`undiffuse export`: write a run in the format of another library."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from undiffuse.cli.terminal import tell


def export(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    out: Annotated[Path, Option("-o", "--out", metavar="FOLDER", help="The folder to write.")],
    format: Annotated[Literal["diffusers"], Option(help="Whose format: diffusers.")] = "diffusers",
) -> None:
    """Write a run as a folder of diffusers, which its `from_pretrained` reads. What that cannot hold is refused.

    \b
    undiffuse export runs/digits --format diffusers -o digits-diffusers
    """
    from undiffuse.conversion.writing import export as write
    from undiffuse.models.load import load

    name = write(load(run, "float32", "cpu"), out)
    tell(f"{out}: a {name} of diffusers")
