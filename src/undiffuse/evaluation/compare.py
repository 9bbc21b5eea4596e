"""Compares runs: each draws samples with the same seeds, which are judged against the same real data."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undiffuse.core import devices
from undiffuse.core.errors import Refused
from undiffuse.evaluation import sources, wording
from undiffuse.evaluation.evaluate import (
    describe,
    enough,
    known_labels,
    likelihood,
    refuse_few,
    refuse_lossy,
    sampling,
    with_examples,
)
from undiffuse.evaluation.judge import NLL, Judge, Judged
from undiffuse.evaluation.metrics.judge import Verdicts
from undiffuse.evaluation.scores import NAMES, headline
from undiffuse.evaluation.sources import Real
from undiffuse.recipes import build
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.samples import Samples


@dataclass(frozen=True)
class Compared:
    """One run: its name, its folder, its samples, their evaluation and, where requested, the likelihood of the
    held-out data.
    """

    name: str
    path: Path
    model: Generator
    drawn: Samples
    judged: Judged
    likelihood: dict[str, Any] | None = None

    @property
    def costs(self) -> dict[str, float]:
        """The costs of training the model and of sampling."""
        parameters = self.model.describe()["parameters"]
        return {
            "step": self.model.facts.get("step", 0),
            "parameters": parameters,
            "network_calls": self.drawn.calls,
            "seconds": round(self.drawn.seconds, 2),
        }


@dataclass(frozen=True)
class Comparison:
    """All runs in the order in which they were named, the real data, and warnings."""

    runs: list[Compared]
    real: Real
    warnings: list[str]
    about: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """The numbers that every run has."""
        first = self.runs[0].judged.verdicts
        return [name for name in first if all(name in run.judged.verdicts for run in self.runs)]

    @property
    def likelihoods(self) -> tuple[str, list[float], float | None] | None:
        """The likelihood of the held-out data for each run: its name, values, and that of a model by counts."""
        scored = [run.likelihood for run in self.runs if run.likelihood is not None]
        shared = [name for name in NAMES if all(name in each for each in scored)]
        found = [headline(each, shared) for each in scored if shared]
        if len(found) < len(self.runs) or len({title for title, *_ in found}) > 1:
            return None
        return found[0][0], [value for _, value, _ in found], found[0][2]

    @property
    def scored(self) -> str:
        """For how many held-out items the likelihood was computed, as a text; empty where it was not."""
        counts = [run.likelihood["items"] for run in self.runs if run.likelihood is not None]
        return " / ".join(dict.fromkeys(f"{count:,}" for count in counts))

    def content(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        runs = {
            run.name: {
                "path": str(run.path), **run.costs, "sampling": sampling(run.drawn), "metrics": run.judged.verdicts,
                **({} if run.likelihood is None else {"likelihood": run.likelihood}),
            }
            for run in self.runs
        }  # fmt: skip
        verdicts = [run.judged.verdicts for run in self.runs]
        named = {name: [self.runs[i].name for i in sorted(best(verdicts, name))] for name in self.names}
        return {**self.about, "warnings": self.warnings, "best": named, "runs": runs}


def best(verdicts: Sequence[Verdicts], name: str) -> set[int]:
    """The best runs by one number: all that reach their floor, or else the one that is nearest to it."""
    signs = [1 if each[name]["better"] == "lower" else -1 for each in verdicts]
    worse = [
        max(0.0, sign * (each[name]["value"] - each[name]["floor"])) for sign, each in zip(signs, verdicts, strict=True)
    ]
    return {i for i, each in enumerate(worse) if each == min(worse)}


@devices.on_cpu()
def compare(paths: Sequence[Path], models: Sequence[Generator], asked: EvaluationRequest) -> Comparison:
    """Draw the same n samples, by seed and class, from every run and judge them against what the first one held out.

    Conditions are those of held-out items, in turn, for runs that take some. n: None for as many as `evaluate` draws.
    models: those in these run folders. Raises Refused for fewer than two runs, for scenes, and for runs of
    different shapes or of tokens that spell something else, by name.
    """
    which, request, bar = asked.against, asked.request, asked.bar
    how: Judge = asked.how or Judge()
    names = names_of(paths)
    for name, model in zip(names, models, strict=True):
        if model.usual is not None:
            raise Refused(
                f"{name} holds {model.what}, whose {model.usual} views are no draws from a distribution: they cannot "
                "be compared with data; `undiffuse evaluate` judges each by itself"
            )
    refuse_other_shapes(names, models)
    real = sources.against(models[0], which)
    how = how.fitting(real.held_out)
    for model in models if NLL in how.metrics else ():
        refuse_lossy(model)
    n = enough(how, real) if request.n is None else request.n
    refuse_few(models[0], real, which, n)
    started = time.perf_counter()
    runs = []
    for name, path, model in zip(names, paths, models, strict=True):
        with bar(f"sampling {name}", "step") as advance:
            drawn = model.open(with_examples(model, real, request, n), progress=advance).draw()
        with bar(f"judging {name}", "metric") as advance:
            judged = how(drawn.x, real, request.seed, known_labels(drawn, real), advance)
        scores = model.scores(real.held_out, request.seed, bar) if NLL in how.metrics else None
        found = None if scores is None else likelihood(scores, real)
        runs.append(Compared(name, path, model, drawn, judged, found))
    against = which or f"held-out part of {real.held_out.name}, which {names[0]} was not trained on"
    first = runs[0].judged
    about = describe(asked.command, request.seed, n, started, first, sampling=sampling(runs[0].drawn), against=against)
    reasons = {}
    for name, verdict in first.verdicts.items():
        if verdict["warning"]:
            reasons.setdefault(verdict["warning"], []).append(wording.title(name, verdict))
    warnings = [
        *([real.warning] if real.warning else []), *unlike(names, models), *first.warnings,
        *(f"{', '.join(titles)}: {why}" for why, titles in reasons.items()),
    ]  # fmt: skip
    return Comparison(runs, real, warnings, about)


def names_of(paths: Sequence[Path]) -> list[str]:
    """The names of the runs in these folders; raises Refused for fewer than two, and for a run that is given twice."""
    if len(paths) < 2:
        raise Refused(f"a comparison needs at least two runs, not {len(paths)}")
    twice = next((path for i, path in enumerate(paths) if path.resolve() in [p.resolve() for p in paths[:i]]), None)
    if twice is not None:
        raise Refused(f"{twice} is named twice")
    names = [path.resolve().name for path in paths]
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def refuse_other_shapes(names: list[str], models: Sequence[Generator]) -> None:
    """Raises Refused if the items of a run have another shape or dtype, or other symbols."""

    def kind(model: Generator) -> str:
        data = model.facts.get("data", {})
        return f"{' x '.join(map(str, data.get('shape', model.data_shape)))} {data.get('dtype', '')}".strip()

    for name, model in zip(names[1:], models[1:], strict=True):
        if kind(model) != kind(models[0]):
            raise Refused(
                f"{name} makes samples of {kind(model)} and {names[0]} of {kind(models[0])}: they cannot be compared"
            )
        if model.codec.tokens and len(model.data_shape) == 1 and _spelling(model) != _spelling(models[0]):
            raise Refused(f"{name} spells with other symbols than {names[0]}: their tokens cannot be compared")


def _spelling(model: Generator) -> list[Any]:
    """The texts that the tokens of a model stand for."""
    return list(model.codec.spelling)


def unlike(names: list[str], models: Sequence[Generator]) -> list[str]:
    """Reasons why the comparison of a run with the first one is unfair."""
    found = []
    first = models[0]
    share = build.training(first.recipe).held_out
    for name, model in zip(names[1:], models[1:], strict=True):
        if model.facts.get("data", {}).get("digest") != first.facts.get("data", {}).get("digest"):
            found.append(f"{name} was trained on other data than {names[0]}, perhaps on what {names[0]} held out")
        elif build.training(model.recipe).held_out < share:
            found.append(f"{name} was trained on some of what {names[0]} held out, for its train.held_out is smaller")
        if model.classes != first.classes:
            found.append(f"{name} knows other classes than {names[0]}, so that the same seed is not the same class")
    return found
