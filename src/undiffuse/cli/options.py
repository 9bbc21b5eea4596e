"""Options that more than one command has, declared once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from undiffuse.core.errors import Refused

if TYPE_CHECKING:
    from undiffuse.evaluation.judge import Judge
    from undiffuse.sampling.run import Run

MOST = 1_000_000  # indices in one range

Sampler = Annotated[str | None, Option(help="One of `undiffuse list samplers`. [default: the recipe's]")]
Settings = Annotated[
    list[str] | None, Option("--set", metavar="FIELD=VALUE ...", help="Fields of the sampler: eta=0.5")
]
Steps = Annotated[int | None, Option(help="Sampler steps. [default: the recipe's, else 20]")]
Guidance = Annotated[
    str | None,
    Option(
        metavar="WEIGHT|NAME=WEIGHT,...",
        help="Weight of the conditions, or of each by name; 1 is none. [default: the recipe's]",
    ),
]
Interval = Annotated[
    str | None,
    Option(metavar="LOW,HIGH", help="Guide only at noise levels sigma/alpha between. [default: the recipe's]"),
]
Rescale = Annotated[
    float | None, Option(help="Share of guided guesses with the contrast of unguided ones. [default: the recipe's]")
]
Threshold = Annotated[
    str | None,
    Option(
        metavar="none|static|dynamic:SHARE|nearest:LEVEL",
        help="Keep guesses inside the data's range, or embeddings at words. [default: the recipe's, or none]",
    ),
]
Temperature = Annotated[
    float | None, Option(help="Of tokens: below 1 for the likelier ones, above for the others. [default: the recipe's]")
]
TopK = Annotated[
    int | None, Option(help="Of tokens: draw from the likeliest so many only; 0: all. [default: the recipe's]")
]
TopP = Annotated[
    float | None,
    Option(help="Of tokens: from the likeliest ones whose chances sum to this share. [default: the recipe's]"),
]
Classifier = Annotated[
    Path | None,
    Option(metavar="RUN", help="Guide to the label by this classifier of noisy samples; --guidance is its weight."),
]
Control = Annotated[
    list[str] | None,
    Option(help='What texts of embeddings should be: "keyword:war", "length:12", "pattern:the ____ of [war|peace]".'),
]
ControlWeight = Annotated[float, Option(help="How much fluency counts against --control: more obeys less.")]
Mbr = Annotated[int, Option(metavar="N", help="Of each N texts keep the one that is nearest to the others.")]
By = Annotated[str, Option("--form", help="How a classifier guides: by the guess, or by the mean of a random step.")]
Label = Annotated[str | None, Option(help="A class, by number or name. [default: the classes in turn]")]
Text = Annotated[str | None, Option(help="A caption, of a model that takes texts.")]
Picture = Annotated[
    str | None, Option("--image", metavar="FILE", help="An image beside the sample, such as a small one.")
]
Map = Annotated[str | None, Option("--map", metavar="FILE", help="An image beside the sample, of the condition `map`.")]
Vector = Annotated[str | None, Option(metavar="A,B,C", help="Numbers, of a model that takes some.")]
Condition = Annotated[
    list[str] | None, Option(metavar="NAME=VALUE", help="Any condition, by the name that `undiffuse show` says.")
]
Precision = Annotated[str, Option(help="auto, float32 or bfloat16.")]
Against = Annotated[
    str | None, Option(metavar="DATA", help="A folder, a file or a data component. [default: what the run held out]")
]
Moved = Annotated[
    str | None, Option("--data", metavar="DATA", help="Where the run's own data are now, if they have moved.")
]
Count = Annotated[int | None, Option("-n", "--count", help="How many to draw. [default: 1000; 200 texts]")]
SEED = 2**64 - 1  # the largest
Seed = Annotated[int, Option(min=0, max=SEED, help="Of the samples and of the metrics' draws.")]
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


def told(condition: list[str] | None, **named: str | None) -> list[tuple[str, str]]:
    """(name or kind, word) of every condition that was asked for, by its own option or by --condition."""
    from undiffuse.conditions.words import pairs

    return [*((name, word) for name, word in named.items() if word is not None), *pairs(condition or ())]


def indices(text: str | None, n: int | None) -> list[int]:
    """The samples that `3,7,10-12` names, [] for None.

    Raises Refused for other words, for an n of another count, and for more samples than can be meant.
    """
    says = f"--indices are numbers from 0 on and ranges of them, such as 3,7,10-12; not {text!r}"
    found: list[int] = []
    for word in [] if text is None else text.split(","):
        first, dash, last = (part.strip() for part in word.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or max(len(first), len(last)) > 18:
            raise Refused(says)
        low, high = int(first), int(last if dash else first)
        if high < low or high - low >= MOST:
            raise Refused(says)
        found += range(low, high + 1)
    if text is not None and n is not None and n != len(found):
        raise Refused(f"-n {n} and --indices {text} contradict each other: those are {len(found)}; leave -n out")
    return found


def classifier(run: Path | None) -> "Run | None":
    """The classifier of a run folder, if one was named."""
    from undiffuse.models.load import load

    return None if run is None else load(run)


def judge(features: str, metrics: str | None, resize: int | None, cache: bool) -> "Judge":
    """How to judge, as it was typed; raises Refused for names that do not exist."""
    from undiffuse.evaluation.judge import Judge

    return Judge(features, tuple(name.strip() for name in (metrics or "").split(",") if name.strip()), resize, cache)
