"""Series with a season and a memory, drawn from a known Gaussian law, so that the exact forecast is known."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source


@dataclass(frozen=True)
class Seasonal(Source):
    """`count` independent series of `length` steps, (count, 1, length) float32: mean + season + memory.

    The season is a cos(2 pi i/period) + b sin(2 pi i/period), a and b from N(0, amplitude^2) for each series; the
    memory r_i = p r_(i-1) + q r_(i-2) + noise e_i, `ar` = (p, q), is stationary. So a series is drawn from N(mean,
    `covariance`), and what is unknown of one has a normal law given the rest, see `law`.
    """

    count: int = 10_000
    length: int = 72
    period: int = 12
    amplitude: float = 1.5
    ar: tuple[float, float] = (1.1, -0.4)
    noise: float = 0.5
    mean: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        p, q = self.ar
        stationary = abs(q) < 1 and abs(p) < 1 - q
        if self.count < 1 or self.seed < 0 or not 2 <= self.period <= self.length or self.noise <= 0 or not stationary:
            raise Refused(
                "seasonal series need count >= 1, seed >= 0, 2 <= period <= length, noise > 0 and a stationary ar, "
                f"|q| < 1 and |p| < 1 - q, and were given {self}"
            )

    def load(self) -> Dataset:
        """The series."""
        random = np.random.Generator(np.random.Philox(self.seed))
        noise = random.standard_normal((self.count, self.length))
        x = self.mean + noise @ np.linalg.cholesky(self.covariance()).T
        return Dataset(x[:, None].astype(np.float32), name="seasonal", drawn=True)

    def covariance(self) -> np.ndarray:
        """Of two steps, (length, length): amplitude^2 cos(2 pi (i - j)/period) + the memory's.

        c_0 = (1 - q) noise^2 / ((1 + q) ((1 - q)^2 - p^2)), c_1 = c_0 p/(1 - q), c_k = p c_(k-1) + q c_(k-2)
        (Yule and Walker).
        """
        p, q = self.ar
        memory = np.empty(max(2, self.length))
        memory[0] = (1 - q) * self.noise**2 / ((1 + q) * ((1 - q) ** 2 - p**2))
        memory[1] = memory[0] * p / (1 - q)
        for k in range(2, self.length):
            memory[k] = p * memory[k - 1] + q * memory[k - 2]
        apart = np.abs(np.arange(self.length)[:, None] - np.arange(self.length))
        return memory[apart] + self.amplitude**2 * np.cos(2 * np.pi * apart / self.period)

    def law(self, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean (length,) and the deviation (length,) of each step of a series with NaN where it is not known."""
        known, cov = np.isfinite(given), self.covariance()
        mean, var = np.array(given, np.float64), np.zeros(self.length)
        weights = np.linalg.solve(cov[np.ix_(known, known)], cov[np.ix_(known, ~known)])
        mean[~known] = self.mean + (mean[known] - self.mean) @ weights
        var[~known] = np.diag(cov)[~known] - (weights * cov[np.ix_(known, ~known)]).sum(0)
        return mean, np.sqrt(var)
