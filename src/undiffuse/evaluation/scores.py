"""Likelihoods of data: a number for each item, their means, and a summary in words."""

import csv
import io
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import text_bits
from undiffuse.likelihood import Bound
from undiffuse.likelihood.bound import ROWS, TOKENS

BITS = 1 / math.log(2)
NAMES = {"exact": "exact", "ode": "ODE", "bound": "bound", "importance": "importance-weighted bound"}


@dataclass(frozen=True)
class Scores:
    """log p of each item in nats by the ODE, or `exact`; `bound`: a bound on it where asked for, both (count,).

    Tokens and rows with categories have a bound only: log_prob is None. Of integers: log-probabilities of the levels,
    bounded from below; of rows with categories: of what is rounded; of other numbers: densities in the data's units.
    error: what is left of the trace's estimate, nan where unknown. given: the condition they are given, or "".
    variance: of the bound's steps: the model's own where it learned or was tuned to one, else the posterior's. more:
    the standard errors that several probes and draws leave, and what spreading levels over their bins costs, in nats of
    each item. alone: of rows, log p where all columns are independent. importance: of latent variables, the bound by
    `samples` of them an item, (count,).
    """

    log_prob: np.ndarray | None
    error: np.ndarray | None
    elements: int
    convention: str
    given: str
    bound: np.ndarray | None = None
    terms: Bound | None = None
    variance: str = ""
    more: dict[str, np.ndarray] = field(default_factory=dict)
    alone: np.ndarray | None = None
    importance: np.ndarray | None = None
    samples: int = 0
    exact: bool = False

    def bits(self, nats: np.ndarray) -> np.ndarray:
        """-nats in bits per dimension."""
        return -nats * (BITS / self.elements)

    def summary(self) -> dict[str, Any]:
        """Bits per dimension over all items with their standard errors, in JSON's types."""
        found: dict[str, Any] = {"convention": self.convention, "given": self.given, "elements": self.elements}
        log_prob = "exact" if self.exact else "ode"
        for name, nats in ((log_prob, self.log_prob), ("bound", self.bound), ("importance", self.importance)):
            if nats is not None:
                bits = self.bits(nats)
                error = float(bits.std(ddof=1) / len(bits) ** 0.5) if len(bits) > 1 else None
                found[name] = {"bits_per_dim": float(bits.mean()), "standard_error": error}
                found["items"] = len(nats)
        if self.variance:
            found["bound"]["variance"] = self.variance
        if self.samples:
            found["importance"]["samples"] = self.samples
        if self.alone is not None:
            found["baseline"] = float(self.bits(self.alone).mean())
        if "dequantisation" in self.more:
            found["dequantisation"] = float(-self.bits(self.more["dequantisation"]).mean())
        return found

    def table(self, data: Dataset) -> str:
        """One line an item as CSV: its number, name and label where known, nats and bits per dimension."""
        columns: dict[str, list[Any]] = {"item": list(range(len(data)))}
        if len(data.names):
            columns["name"] = list(data.names)
        if data.labels is not None:
            columns["label"] = [data.classes[label] for label in data.labels]
        if self.log_prob is not None:
            columns |= {"log_prob": self.log_prob.tolist(), "bits_per_dim": self.bits(self.log_prob).tolist()}
        columns |= {name: nats.tolist() for name, nats in self.more.items()}
        if self.bound is not None:
            columns |= {"bound": self.bound.tolist(), "bound_bits_per_dim": self.bits(self.bound).tolist()}
        if self.importance is not None:
            bits = self.bits(self.importance).tolist()
            columns |= {"importance": self.importance.tolist(), "importance_bits_per_dim": bits}
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return file.getvalue()


def headline(summary: dict[str, Any], names: Collection[str] = tuple(NAMES)) -> tuple[str, float, float | None]:
    """The number to compare runs by, lower is better: its name, its value, and that of a model by counts.

    names: of the numbers to choose from, the first that there is.
    """
    if "text" in summary:
        text = summary["text"]
        return "Bits per character (bound)", text["bits_per_character"], text["baseline"]["bits_per_character"]
    name = next(name for name in NAMES if name in summary and name in names)
    each = "token" if TOKENS in summary["convention"] else "column" if ROWS in summary["convention"] else "dimension"
    return f"Bits per {each} ({NAMES[name]})", summary[name]["bits_per_dim"], summary.get("baseline")


def lines(summary: dict[str, Any]) -> list[str]:
    """The summary for people, one number a line."""
    titles = {name: f"negative log-likelihood, {called}" for name, called in NAMES.items()}
    of_rows = ROWS in summary["convention"]
    what = summary["convention"] + (f" given the {summary['given']}" if summary["given"] else "")
    said = f"({what}, {summary['items']:,} {'rows' if of_rows else 'items'})"
    found = [(title, summary[name]) for name, title in titles.items() if name in summary]
    if of_rows or TOKENS in summary["convention"]:
        whole, each = ("row", "column") if of_rows else ("sequence", "token")
        bounds = [f"{title}: {_of_all(number, summary['elements'], whole, each)} {said}" for title, number in found]
        if "baseline" in summary:
            alone = summary["baseline"] * summary["elements"]
            bounds.append(f"baseline: {alone:.4f} bits a row, by the frequencies of each column alone")
        return [*bounds, *(text_bits.lines(summary["text"]) if "text" in summary else [])]
    told = [f"{title}: {_with_error(number, 1, 4)} bits per dimension {said}" for title, number in found]
    if "dequantisation" in summary:
        cost = summary["dequantisation"]
        told.append(f"of these, spreading levels over their bins costs {cost:.4f} or more (as far as the draws see)")
    return told


def _of_all(number: dict[str, Any], elements: int, whole: str, each: str) -> str:
    nats = number["bits_per_dim"] * elements / BITS
    bits = _with_error(number, elements, 4)
    return f"{bits} bits a {whole}, {nats:.4f} nats, {number['bits_per_dim']:.5f} bits per {each}"


def _with_error(number: dict[str, Any], times: int, digits: int) -> str:
    error = number["standard_error"]
    return f"{number['bits_per_dim'] * times:.{digits}f}" + ("" if error is None else f" +- {error * times:.{digits}f}")
