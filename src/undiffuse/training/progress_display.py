"""Shows training progress: a bar or lines with the time left, and a short summary."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import torch

from undiffuse.progress import LOGGER, duration, messages, progress_bar, watched
from undiffuse.recipes.settings import Train
from undiffuse.reports.verdicts import DISTANCES

NUMBERS = ("loss", "validation_loss", *DISTANCES)


def shown(turns: Iterable[Mapping[str, float]], settings: Train, step: int) -> Iterator[Mapping[str, float]]:
    """The same turns behind a bar; without a terminal a line for each line of the log. step: where they begin."""
    with messages():
        if not watched():
            for numbers in turns:
                if numbers["step"] % settings.log_every == 0 or numbers["step"] == settings.steps:
                    sys.stderr.write(f"{line(numbers, settings)}\n")
                yield numbers
            return
        with progress_bar(total=settings.steps, initial=step, unit="step", desc="training") as moving:
            for numbers in turns:
                moving.update()
                if numbers["step"] % 10 == 0:
                    moving.set_postfix(loss=f"{numbers['loss']:.4f}", items_s=f"{numbers['samples_per_second']:.0f}")
                yield numbers


def line(numbers: Mapping[str, float], settings: Train) -> str:
    """`step 100 of 400, loss 0.4737, 97.2 items a second, 3 min 17 s left`"""
    step, rate = int(numbers["step"]), numbers["samples_per_second"]
    left = duration((settings.steps - step) * settings.batch / rate)
    measured = [name for name in NUMBERS if name != "loss" and name in numbers]
    beside = "".join(f", {name.replace('_', ' ')} {numbers[name]:.4g}" for name in measured)
    ahead = f", {left} left" if step < settings.steps else ""
    return f"step {step:,} of {settings.steps:,}, loss {numbers['loss']:.4g}{beside}, {rate:.3g} items a second{ahead}"


def say_pace(training: Any, seconds: Sequence[float]) -> None:
    """Say how fast it goes, how long it will take, what memory it needs, and where to watch it. seconds: of steps."""
    said = pace(sum(seconds) / len(seconds), training.settings.steps - training.step, training.device)
    LOGGER.info("%s%s", said, f"; watch it in {training.folder}/training.html" if training.has_page else "")


def pace(seconds: float, left: int, device: torch.device) -> str:
    """`4.2 steps a second, 1 min 20 s left, 310 MB of memory`. seconds: of a step. left: steps."""
    return f"{1 / seconds:.3g} steps a second, {duration(left * seconds)} left{_memory(device)}"


def _memory(device: torch.device) -> str:
    """The most that the process has taken so far, of the computer's memory or the GPU's; nothing where unknown."""
    if device.type == "cuda":
        return f", {torch.cuda.max_memory_allocated(device) / 1e6:,.0f} MB of the GPU's memory"
    try:
        import resource
    except ImportError:  # on Windows
        return ""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f", {most / 1e6:,.0f} MB of memory"


def facts(training: Any) -> dict[str, str]:
    """A training in short: where it is, how far it has come, and its last numbers."""
    settings: Train = training.settings
    said = {"folder": str(training.folder)} if training.folder else {}
    said["step"] = f"{training.step:,} of {settings.steps:,}"
    said |= {name.replace("_", " "): f"{training.numbers[name]:.4g}" for name in NUMBERS if name in training.numbers}
    return said | ({"trained for": duration(training.seconds)} if training.seconds else {})


def html(training: Any) -> str:
    """The same as a table."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts(training).items())
    return f"<table><caption>Training</caption>{rows}</table>"
