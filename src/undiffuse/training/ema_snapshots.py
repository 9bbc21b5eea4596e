"""Snapshots of two averages of the weights, from which an average of any length can be made after training."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from undiffuse.storage.files import write_tensors
from undiffuse.training.ema import EMA, gamma
from undiffuse.training.state import AVERAGE

FOLDER = "ema"
LENGTHS = {"a": 0.05, "b": 0.10}  # standard deviations of the averages, as shares of the training so far


def averages(module: nn.Module, average: EMA) -> dict[str, EMA]:
    """The averages by name; the one that sampling uses stands in for a track of its own length.

    Source: arXiv:2312.02696, sec. 3.2.
    """
    exponents = {name: gamma(length) for name, length in LENGTHS.items()}
    return {
        name: average if average.decay is None and average.gamma == exponent else EMA(module, exponent, None)
        for name, exponent in exponents.items()
    }


def named(average: EMA, averages: Mapping[str, EMA]) -> dict[str, nn.Module]:
    """The averages that a checkpoint holds, each once, by the beginning of their tensors' names in it."""
    extra = {f"track.{name}.": each.module for name, each in averages.items() if each is not average}
    return {AVERAGE: average.module, **extra}


def due(step: int, steps: int, count: int) -> bool:
    """Whether one of `count` snapshots, evenly spread over the steps and the last after all of them, is taken now."""
    return count > 0 and step * count // steps > (step - 1) * count // steps


def file(run: Path, step: int) -> Path:
    """Where the snapshot after this step lies."""
    return run / FOLDER / f"{step:08d}.safetensors"


def save(run: Path, step: int, held: Mapping[str, Tensor]) -> None:
    """Write a snapshot: tensors `<track>.<name>`, whole or not at all."""
    write_tensors(file(run, step), held, {"step": step, "std": LENGTHS})
