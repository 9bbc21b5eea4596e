"""`undiffuse export`: write a run in the format of another library, or a LoRA as a run of its own."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from undiffuse.cli.terminal import tell


def export(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
    out: Annotated[Path, Option("-o", "--out", metavar="FOLDER", help="The folder to write.")],
    format: Annotated[
        Literal["diffusers", "lora", "merged", "stages"],
        Option(
            help="diffusers; of a LoRA: lora, for PEFT and diffusers, or merged, a run of its own; of a chain: stages, "
            "a run each."
        ),
    ] = "diffusers",
) -> None:
    """Write a run as a folder of diffusers, which its `from_pretrained` reads. What that cannot hold is refused.

    \b
    undiffuse export runs/digits --format diffusers -o digits-diffusers
    undiffuse export runs/style --format lora -o style-lora
    undiffuse export runs/style --format merged -o runs/merged
    undiffuse export runs/cascade --format stages -o stages
    """
    from undiffuse.conversion.stages import export_stages
    from undiffuse.conversion.writing import export as write
    from undiffuse.models.load import load
    from undiffuse.sampling.lora import export_lora, export_merged

    model = load(run, "float32", "cpu")
    if format == "lora":
        tell(f"{out}: {', '.join(export_lora(run, model, out))}")
    elif format == "merged":
        export_merged(run, model, out)
        tell(f"{out}: {model.what}, without a base beside it")
    elif format == "stages" or model.stages:
        tell(f"{out}: {', '.join(export_stages(model, out, diffusers=format == 'diffusers'))}")
    else:
        tell(f"{out}: a {write(model, out)} of diffusers")
