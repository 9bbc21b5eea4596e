"""What `undiffuse evaluate` does: draw, judge, and write down what came out."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from undiffuse import __version__
from undiffuse.core.errors import Refused
from undiffuse.drawing.draw import Advance, Drawn, Wish, draw, unroll
from undiffuse.judging import sources, wording
from undiffuse.judging.noise import Errors, errors
from undiffuse.judging.record import EVALUATION
from undiffuse.judging.sources import Real
from undiffuse.metrics.judge import judge
from undiffuse.model.files import write_json
from undiffuse.model.model import Model

SHOWN = 10  # samples on the strip from noise to data, for points POINTS
POINTS = 1000
COUNT = 1000  # samples that are drawn to be judged, where nobody says how many

Bar = Callable[
    [str, str], AbstractContextManager[Advance]
]  # (what is done, its unit) -> a bar that is told (done, total)


@contextmanager
def silent(title: str, unit: str) -> Iterator[Advance]:
    """A bar that nobody sees."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Evaluation:
    """What was judged, against what, and the verdict of each metric by name."""

    x: np.ndarray
    real: Real
    verdicts: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, Any]

    @property
    def warnings(self) -> list[str]:
        """Why to be careful with the numbers."""
        reasons: dict[str, list[str]] = {}
        for name, verdict in self.verdicts.items():
            if verdict["warning"]:
                reasons.setdefault(verdict["warning"], []).append(wording.word(name).title)
        general = [self.real.warning] if self.real.warning else []
        return [*general, *(f"{', '.join(names)}: {why}" for why, names in reasons.items())]

    def save(self, folder: Path) -> None:
        """Write evaluation.json."""
        write_json(folder / EVALUATION, {**self.about, "metrics": self.verdicts})


@dataclass(frozen=True)
class RunEvaluation(Evaluation):
    """The same for a run, with its samples, some on their way from noise, and its guess's error at each noise level."""

    model: Model
    drawn: Drawn
    path: Drawn
    noise: Errors


def evaluate_samples(path: Path, which: str, seed: int = 0, command: str = "") -> Evaluation:
    """Judge finished samples against data; raises Refused where either cannot be read or they do not fit together."""
    real = sources.split(which)
    samples = sources.open_samples(path, real)
    started = time.perf_counter()
    verdicts = judge(samples, real.held_out, real.train, seed=seed)
    about = _about(command, seed, len(samples), started, samples=str(path), against=which)
    return Evaluation(samples.x, real, verdicts, about)


def evaluate_run(
    model: Model, which: str | None, n: int | None, wish: Wish, command: str = "", bar: Bar = silent
) -> RunEvaluation:
    """Draw n samples from a run and judge them against what it held out, or other data that is new to it.

    n: None for COUNT, rounded up to equally many of each class.
    """
    real = sources.against(model, which)
    if real.train.shape != real.held_out.shape:
        raise Refused(
            f"the run makes samples of shape {real.train.shape}, and items of {which} have {real.held_out.shape}"
        )
    n = usual(max(1, len(model.classes))) if n is None else n
    started = time.perf_counter()
    with bar("sampling", "step") as advance:
        drawn = draw(model, n, wish, advance)
        path = unroll(model, min(n, SHOWN if drawn.is_image else POINTS), wish)
    with bar("judging", "part") as advance:
        advance(0, 2)
        verdicts = judge(drawn.x, real.held_out, real.train, labels=drawn.labels, seed=wish.seed)
        advance(1, 2)
        noise = errors(model, (real.held_out.x, real.held_out.labels), (real.train.x, real.train.labels))
        advance(2, 2)
    sampling = {
        "seed": wish.seed,
        "sampler": wish.sampler,
        "set": list(wish.settings),
        "steps": wish.steps,
        "guidance": wish.guidance,
    }
    cost = {"network_calls": drawn.calls, "seconds": round(drawn.seconds, 2)}
    against = which or f"held-out part of {real.held_out.name}"
    about = _about(
        command, wish.seed, n, started, sampling=sampling | cost, against=against, step=model.facts.get("step")
    )
    return RunEvaluation(drawn.x, real, verdicts, about, model, drawn, path, noise)


def usual(classes: int) -> int:
    """COUNT samples, rounded up to a multiple of the classes."""
    return -(-COUNT // classes) * classes


def _about(command: str, seed: int, count: int, started: float, **more: Any) -> dict[str, Any]:
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "count": count,
        "seconds": round(time.perf_counter() - started, 2),
        **more,
        "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
