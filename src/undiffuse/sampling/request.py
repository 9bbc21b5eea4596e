"""A request for samples: all that a person may ask of sampling, declared once.

From the fields are made the keywords of `Generator.sample`, the flags and help texts of the commands, and the JSON that
a server takes.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from undiffuse.core.errors import Refused, near, unknown
from undiffuse.sampling import words
from undiffuse.sampling.option import as_json, checked, default_of, option, options, schema

if TYPE_CHECKING:
    from undiffuse.core.grid import Grid
    from undiffuse.core.sampler import Sampler

SEED = 2**64 - 1  # the largest
MOST = 1_000_000  # steps of a sampler
RUNS = ("classifier", "weaker")  # fields that are runs, or their folders
NUMBERS = ("rescale", "augmentation", "temperature", "top_p", "control_weight")
End = float | Literal["inf"]


@dataclass(frozen=True)
class SampleRequest:
    """What a person asks of sampling; what is None is as the run's recipe says, else as the sampler does.

    n: how many samples. seed, indices: sample i depends on the seed and on i alone, whatever the batch; indices: which
    samples, default the first n.
    sampler: a name, or a `Sampler`; settings: fields of it, or of the recipe's own. steps, grid: of the sampler.
    guidance: the weight of every condition that was dropped now and then in training, or one by each name.
    interval: the noise levels sigma/alpha, above the first and up to the second, in which to guide. rescale: share of
    the guess with the spread of the unguided one, see `ClassifierFree`.
    negative: a text of what samples should not show, or one by a condition's name: guidance moves away from it, in the
    place of the null condition.
    threshold: "none", "static", "dynamic" or "dynamic:PERCENTILE", see `Threshold`; of embeddings "nearest" or
    "nearest:LEVEL", see `Clamp`, up to that noise level sigma/alpha.
    temperature, top_k, top_p: of tokens' guesses, see `Truncation`; 1, 0 and 1 leave them as they are.
    classifier: a run that classifies noisy samples, or its folder: the label is one of its classes then and no
    condition of the model, and guidance its weight (1); classifier_form: how it moves a step, "guess" of every sampler
    or "mean" of stochastic ones.
    lora: weights by path, of what a run with [init] lora has learned, or of files of other tools, see `with_lora`;
    "PATH:WEIGHT" or several of these say the same.
    weaker: a run of the same data, or its folder: guesses are moved away from its own, and guidance is the weight (2),
    see `Autoguidance`.
    controlnet: runs of kind controlnet that steer the model, each a run, its folder, (run, weight, interval) or a text
    "RUN:WEIGHT:LOW:HIGH", see `Control`; their pictures are conditions like others.
    augmentation: the level of the noise that is added to conditions that were trained with noise, such as samples of
    another model, see `ImageCondition`; 0 leaves them as they are.
    control: what texts of embeddings should be, see `controlled`; control_weight: how much fluency counts against it.
    stages: of a chain, by the stage's name: fields of that stage's own request, which go before those of this one.
    candidates: so many texts, or vectors of a pair of encoders, are drawn for each one, and the best is kept; rank: of
    texts the one with the least mean edit distance to the others ("consensus"), of vectors the one with the greatest
    dot product with that of their text ("similarity"); "" is what fits. A recipe's candidates are for samples that can
    be ranked: a vector without a text is drawn once.
    batch: at most so many samples at once (default: what fits memory; halved where it does not); changes no sample.
    conditions: by name, one value for all samples or n of them; those left out are null. condition_words: further ones,
    (name or kind, word) of a command line, see `from_words`.
    Raises Refused, by the field's name, for values that make no sense.
    """

    n: int | None = option(None, "How many. [default: 1, or as many as indices]", int | None, flag="-n/--count")
    seed: int = option(0, "Sample i depends on the seed and on i only, whatever the batch.", int, most=SEED)
    indices: Sequence[int] | None = option(
        None, "Draw these samples again, counted from 0. [default: the first n]", list[int] | None,
        metavar="3,7,10-12", read=words.indices,
    )  # fmt: skip
    sampler: "Sampler | str | None" = option(
        None, "One of `undiffuse list samplers`. [default: the recipe's]", str | None
    )
    settings: Mapping[str, Any] = option(
        {}, "Fields of the sampler: eta=0.5", dict[str, Any],
        flag="--set", metavar="FIELD=VALUE ...", read=words.settings, repeated=True,
    )  # fmt: skip
    steps: int | None = option(None, "Sampler steps. [default: the recipe's, else 20]", int | None, recipe=True)
    grid: "Grid | Mapping[str, Any] | str | None" = option(
        None, "Times of the steps: one of `undiffuse list grids`. [default: the recipe's]", str | dict[str, Any] | None,
        metavar="NAME", read=str, recipe=True,
    )  # fmt: skip
    guidance: float | Mapping[str, float] | None = option(
        None, "Weight of the conditions, or of each by name; 1 is none. [default: the recipe's]",
        float | dict[str, float] | None, metavar="WEIGHT|NAME=WEIGHT,...", read=words.weights, recipe=True,
    )  # fmt: skip
    interval: tuple[float, float] | None = option(
        None, "Guide only at noise levels sigma/alpha between. [default: the recipe's]", tuple[End, End] | None,
        metavar="LOW,HIGH", read=words.interval, recipe=True,
    )  # fmt: skip
    rescale: float | None = option(
        None, "Share of guided guesses with the contrast of unguided ones. [default: the recipe's]", float | None,
        recipe=True,
    )  # fmt: skip
    negative: str | Mapping[str, str] | None = option(
        None, "A text of what samples should not show; guidance moves away from it.", str | dict[str, str] | None,
        metavar="TEXT", read=str,
    )  # fmt: skip
    threshold: str | None = option(
        None, "Keep guesses inside the data's range, or embeddings at words. [default: the recipe's, or none]",
        str | None, metavar="none|static|dynamic:SHARE|nearest:LEVEL", recipe=True,
    )  # fmt: skip
    temperature: float | None = option(
        None, "Of tokens: below 1 for the likelier ones, above for the others. [default: the recipe's]", float | None,
        recipe=True,
    )  # fmt: skip
    top_k: int | None = option(
        None, "Of tokens: draw from the likeliest so many only; 0: all. [default: the recipe's]", int | None,
        recipe=True,
    )  # fmt: skip
    top_p: float | None = option(
        None, "Of tokens: from the likeliest ones whose chances sum to this share. [default: the recipe's]",
        float | None, recipe=True,
    )  # fmt: skip
    classifier: Any = option(
        None, "Guide to the label by this classifier of noisy samples; --guidance is its weight.", str | None,
        metavar="RUN", read=Path, recipe=True,
    )  # fmt: skip
    lora: Mapping[str, float] = option(
        {}, "Add a LoRA, a run of one or its files, with this weight [default: 1]; several add up.", dict[str, float],
        metavar="PATH[:WEIGHT]", read=words.loras, repeated=True,
    )  # fmt: skip
    weaker: Any = option(
        None, "Guide away from the guess of this weaker run; --guidance is its weight (2).", str | None,
        metavar="RUN", read=Path, recipe=True,
    )  # fmt: skip
    classifier_form: str = option(
        "guess", "How a classifier guides: by the guess, or by the mean of a random step.", str, metavar="guess|mean"
    )
    controlnet: Sequence[Any] = option(
        (), "Steer by this run of kind controlnet: its weight (1) and noise levels sigma/alpha between.",
        list[str], read=tuple, repeated=True, metavar="RUN:WEIGHT:LOW:HIGH",
    )  # fmt: skip
    augmentation: float | None = option(
        None, "Noise level of image conditions that were trained with noise. [default: the recipe's, or 0]",
        float | None, metavar="LEVEL", recipe=True,
    )  # fmt: skip
    control: Sequence[Any] = option(
        (), 'What texts of embeddings should be: "keyword:war", "length:12", "pattern:the ____ of [war|peace]".',
        list[str], read=tuple, repeated=True,
    )  # fmt: skip
    control_weight: float = option(0.01, "How much fluency counts against --control: more obeys less.", float)
    stages: Mapping[str, Mapping[str, Any]] = option(
        {}, "Of a chain: a field of one stage's request; a field alone is of all stages.", dict[str, dict[str, Any]],
        flag="--stage", metavar="STAGE:FIELD=VALUE", repeated=True,
        read=lambda said: words.stages(said, options(SampleRequest)),
    )  # fmt: skip
    candidates: int | None = option(
        None, "Of each N texts or vectors keep the best. [default: the recipe's, or 1]", int | None, metavar="N",
        recipe=True,
    )  # fmt: skip
    rank: str = option("", "The best of candidates: consensus, nearest to the others, or similarity to its text.", str)
    batch: int | None = option(None, "At most so many at once. [default: what fits memory]", int | None)
    conditions: Mapping[str, Any] = option({}, "Conditions by name.", dict[str, Any], typed=False)
    condition_words: Sequence[tuple[str, str]] = option(
        (), "Conditions as words of a command line.", list[tuple[str, str]], typed=False
    )

    def __post_init__(self) -> None:
        for name, value in self._plain():
            object.__setattr__(self, name, value)
        from undiffuse.guidance.extrapolation import check_interval
        from undiffuse.guidance.truncation import check_truncation
        from undiffuse.sampling.threshold import level, percentile

        check_interval(self.interval)
        if self.rescale is not None and not 0 <= self.rescale <= 1:
            raise Refused(f"rescale is a share: from 0 to 1, not {self.rescale:g}")
        if self.augmentation is not None and not 0 <= self.augmentation <= 1:
            raise Refused(f"augmentation is a level of noise: from 0 to 1, not {self.augmentation:g}")
        percentile(self.threshold)
        level(self.threshold)
        check_truncation(**self.truncation)

    def _plain(self) -> Iterator[tuple[str, Any]]:
        """What was given, as Python's own values; raises Refused, by its name, for what makes no sense."""
        from undiffuse.core.arguments import INDICES, indices, number, seed, shown, text, whole

        if self.n is not None:
            if (n := whole(self.n, "n")) < 1:
                raise Refused(f"the number of samples must be at least 1, not {n}")
            yield "n", whole(n, "n", 1, INDICES)
        yield "seed", seed(self.seed)
        if self.indices is not None:
            yield "indices", tuple(indices(self.indices, self.n).tolist())
        if self.steps is not None and not 1 <= (steps := whole(self.steps, "steps")) <= MOST:
            most = "at least 1 step" if steps < 1 else f"at most {MOST:,} steps"
            raise Refused(f"sampling needs {most}, not {steps}")
        if isinstance(self.guidance, Mapping):
            yield "guidance", {str(k): _finite(v, f"guidance of {k}") for k, v in self.guidance.items()}
        elif self.guidance is not None:
            yield "guidance", _finite(self.guidance, "guidance")
        if self.negative is not None:
            several = self.negative if isinstance(self.negative, Mapping) else {"": self.negative}
            for name, value in several.items():
                text(value, f"negative of {name}" if name else "negative")
        if self.interval is not None:
            try:
                low, high = self.interval
            except (TypeError, ValueError):
                raise Refused(f"interval is a pair (low, high) of noise levels, not {shown(self.interval)}") from None
            ends = (float(end) if end == "inf" else number(end, "interval") for end in (low, high))
            yield "interval", tuple(ends)
        for name in ("settings", "stages", "conditions"):
            if not isinstance(getattr(self, name), Mapping):
                raise Refused(f"{name} maps names to values, and is not {shown(getattr(self, name))}")
        yield "lora", {path: _finite(weight, f"lora {path}") for path, weight in words.loras(self.lora).items()}
        yield from ((name, number(v, name)) for name in NUMBERS if (v := getattr(self, name)) is not None)
        if self.threshold is not None:
            text(self.threshold, "threshold")
        yield from ((name, whole(v, name)) for name in ("steps", "top_k") if (v := getattr(self, name)) is not None)
        for name, known in (("classifier_form", ("guess", "mean")), ("rank", ("consensus", "similarity"))):
            if (word := getattr(self, name)) and word not in known:
                raise unknown(name, str(word), known)
        several: Any = self.control if isinstance(self.control, list | tuple) else [self.control]
        yield "control", tuple(each for each in several if each is not None)
        nets: Any = self.controlnet if isinstance(self.controlnet, list | tuple) else [self.controlnet]
        yield "controlnet", tuple(each for each in nets if each is not None)
        yield "condition_words", tuple((name, word) for name, word in self.condition_words)
        if self.candidates is not None and (count := whole(self.candidates, "candidates")) < 1:
            raise Refused(f"candidates is how many each one is chosen from, 1 or more, not {count}")
        if self.batch is not None and whole(self.batch, "batch") < 1:
            raise Refused(f"batch must be at least 1, not {self.batch}")

    @property
    def count(self) -> int:
        """How many samples."""
        return self.n if self.n is not None else 1 if self.indices is None else len(self.indices)

    @property
    def each(self) -> int:
        """How many candidates there are for each sample."""
        return self.candidates or 1

    @property
    def truncation(self) -> dict[str, Any]:
        """The fields of `Truncation` that change a guess; nothing where nobody asks for any."""
        from undiffuse.guidance.truncation import WHOLE

        said = {name: getattr(self, name) for name in WHOLE}
        return {name: value for name, value in said.items() if value not in (None, WHOLE[name])}

    def over(self, other: "SampleRequest") -> Self:
        """This, and what the other says where this is silent."""
        silent = [name for name, about in options(type(self)).items() if about.recipe and getattr(self, name) is None]
        return replace(self, **{name: getattr(other, name) for name in silent})

    def updated(self, values: Mapping[str, Any], conditions: Collection[str] = ()) -> Self:
        """The request with further values: a field's by its name, and of all other names conditions.

        Raises Refused for a name that is neither, with the nearest.
        """
        known = options(type(self))
        others = {name: value for name, value in values.items() if name not in known}
        for name in others:
            if name not in conditions and near(name, known):
                from undiffuse.conditions.given import no_condition

                raise no_condition(name, conditions, known)
        given = {name: value for name, value in values.items() if name in known}
        given["conditions"] = {**self.conditions, **given.get("conditions", {}), **others}
        return replace(self, **given)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON Schema of a request, for a server's documentation."""
        return schema(cls)

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Self:
        """The request in a JSON object; raises Refused, by the field's name, for any other name and type."""
        try:
            return cls(**checked(cls, json.dumps(dict(mapping), allow_nan=False), "a request"))
        except (TypeError, ValueError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"a request is a JSON object: {error}") from None

    def to_json(self, *, defaults: bool = False) -> dict[str, Any]:
        """What is asked for, in JSON's types; what is left at its default only where `defaults` are wanted."""
        said = {each.name: (getattr(self, each.name), default_of(each)) for each in fields(self)}
        said |= {name: (_folder(said[name][0]), None) for name in RUNS}
        found = {name: as_json(value) for name, (value, usual) in said.items() if defaults or value != usual}
        if isinstance(table := found.get("sampler"), dict):
            found |= {"sampler": table.pop("name"), "settings": table}
        return found


def _folder(run: Any) -> str | None:
    """The folder of a run, or what it is called where it comes from none."""
    return run if run is None else str(run if isinstance(run, str | Path) else run.recipe.home or run)


def _finite(weight: Any, name: str) -> float:
    from undiffuse.core.arguments import number

    if (found := number(weight, name)) in (float("inf"), float("-inf")):
        raise Refused(f"{name} is a finite weight, not {found}")
    return found
