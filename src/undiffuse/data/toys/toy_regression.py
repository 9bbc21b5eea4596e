"""Toys of regression: a number y given a number x, whose law is known: noise, spread that grows, several branches."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.predictive import PREDICTS, TARGET
from undiffuse.data.source import Source

Which = Literal[
    "linear", "quadratic", "log_log_linear", "log_log_cubic", "sine", "inverse_sine", "eight_gaussians", "full_circle"
]
SINE, WAVE = 0.08, 0.3  # the noise and the height of sine


@dataclass(frozen=True)
class ToyRegression(Source):
    """`count` independent pairs (x, y): x is the item, and y its target.

    which: "linear" y = 2 + 3 x + 2 noise, "quadratic" 3 x^2 + 2 x + 1 + 2 noise, both with x even in [-5, 5];
    "log_log_linear" log y = log x + 0.15 noise, "log_log_cubic" log y = 3 log x + 0.15 noise, both with x even in
    [0, 10]; "sine" y = x + 0.3 sin(2 pi x) + 0.08 noise with x even in [0, 1], and "inverse_sine" the same with x and y
    exchanged; "eight_gaussians" around a circle of radius sqrt(2) with deviation 0.1; "full_circle" of radius 10 with
    deviation 0.5. Source: arXiv:2206.07275, sec. 4.1.
    """

    which: Which = "linear"
    count: int = 10_240
    seed: int = 0

    def __post_init__(self) -> None:
        if self.which not in get_args(Which) or self.count < 1 or self.seed < 0:
            raise Refused(f"a toy of regression needs count >= 1 and seed >= 0, and was given {self}")

    def load(self) -> Dataset:
        """The pairs, float32."""
        x, y = self.draw(np.random.Generator(np.random.Philox(self.seed)))
        return Dataset(
            x.astype(np.float32)[:, None],
            {TARGET: y.astype(np.float32)[:, None]},
            name=self.which.replace("_", " "),
            columns=("x",),
            notes={PREDICTS: {"name": "y", "targets": ["y"]}},
            drawn=True,
        )

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """x and y, (count,) each in float64."""
        noise = random.standard_normal((2, self.count))
        if self.which in ("eight_gaussians", "full_circle"):
            turn, radius, spread = random.uniform(size=self.count), 10.0, 0.5
            if self.which == "eight_gaussians":
                turn, radius, spread = np.floor(8 * turn) / 8, 2**0.5, 0.1
            x, y = radius * np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)]) + spread * noise
            return x, y
        low, high = {"linear": (-5, 5), "quadratic": (-5, 5), "log_log_linear": (0, 10), "log_log_cubic": (0, 10)}.get(
            self.which, (0, 1)
        )
        x = random.uniform(low, high, self.count)
        y = self.middle(x)
        if self.which.startswith("log_log"):
            return x, y * np.exp(0.15 * noise[0])
        if self.which == "inverse_sine":
            return y + SINE * noise[0], x
        return x, y + (SINE if self.which == "sine" else 2.0) * noise[0]

    def middle(self, x: np.ndarray) -> np.ndarray:
        """What y is without noise; of `inverse_sine` what x is, given y."""
        laws = {
            "linear": 2 + 3 * x,
            "quadratic": 3 * x**2 + 2 * x + 1,
            "log_log_linear": x,
            "log_log_cubic": x**3,
        }
        return laws[self.which] if self.which in laws else x + WAVE * np.sin(2 * np.pi * x)
