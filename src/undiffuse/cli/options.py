"""Options that more than one command has, declared once."""

from typing import Annotated

from typer import Option

Sampler = Annotated[str | None, Option(help="One of `undiffuse list samplers`. [default: the recipe's]")]
Settings = Annotated[
    list[str] | None, Option("--set", metavar="FIELD=VALUE ...", help="Fields of the sampler: eta=0.5")
]
Steps = Annotated[int | None, Option(help="Sampler steps. [default: the recipe's, else 20]")]
Guidance = Annotated[float | None, Option(help="Weight of the condition; 1 is none. [default: the recipe's]")]
Precision = Annotated[str, Option(help="auto, float32 or bfloat16.")]
Against = Annotated[
    str | None, Option(metavar="DATA", help="A folder, a file or a data component. [default: what the run held out]")
]
Count = Annotated[int | None, Option("-n", "--count", help="How many to draw. [default: 1000]")]
Seed = Annotated[int, Option(help="Of the samples and of the metrics' draws.")]
Features = Annotated[
    str,
    Option(metavar="NAME", help="pixels, efficientnet-lite0, inception, inception:FILE or module:package.file:name."),
]
Metrics = Annotated[
    str | None,
    Option(metavar="A,B,C", help="Some of `undiffuse list metrics`, and nll of a run. [default: all that apply]"),
]
Resize = Annotated[int | None, Option(metavar="N", help="Bring samples and data to N x N pixels before.")]
Cached = Annotated[bool, Option("--cache/--no-cache", help="Keep what is costly about the data for the next time.")]
FirstAgainst = Annotated[
    str | None,
    Option(
        "--against", metavar="DATA", help="A folder, a file or a data component. [default: what the first held out]"
    ),
]
