"""`undiffuse chain`: put runs together, each a condition of the next."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from undiffuse.cli.terminal import tell


def chain(
    runs: Annotated[
        list[str],
        Argument(metavar="RUN ...", help="Run folders in order, each RUN or NAME=RUN; or one .toml file of stages."),
    ],
    out: Annotated[Path, Option("-o", "--out", metavar="RUN", help="The run folder to write.")],
    fills: Annotated[
        list[str] | None,
        Option(metavar="STAGE=CONDITION", help="Which condition of a stage the sample before is. [default: what fits]"),
    ] = None,
    augmentation: Annotated[
        list[str] | None,
        Option(metavar="STAGE=LEVEL", help="Noise on that condition, where it was trained with noise. [default: 0]"),
    ] = None,
    truncated: Annotated[
        list[str] | None,
        Option(metavar="STAGE", help="The stage before this one stops at that level, and hands over its noise."),
    ] = None,
) -> None:
    """Put runs together in a chain, such as a cascade. The sample of one is a condition of the next.

    \b
    undiffuse chain base=runs/small up=runs/up4 -o runs/cascade --augmentation up=0.2
    undiffuse sample runs/cascade -n 16 --stage up:steps=8

    The chain is a run that holds its stages: it is sampled and evaluated as any other. In a .toml file each stage is a
    table [stages.NAME] with run = "FOLDER", and perhaps fills, augmentation and truncated.
    """
    from undiffuse.core import registry
    from undiffuse.core.errors import Refused
    from undiffuse.models.load import load
    from undiffuse.sampling.chained import said

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} is there already: name a folder that is not, or an empty one")
    stages = said(runs, fills or (), augmentation or (), truncated or ())
    kind: Any = registry.get("models", "chain")
    made = kind.of_runs({name: load(stage.run, "float32", "cpu") for name, stage in stages.items()}, stages)
    made.save(out)
    made.recipe.save(out)
    tell(f"{out}: {made.about()['stages']}")
