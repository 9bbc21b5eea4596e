"""Forecasts of series without a network: the last season again, an autoregression, and a normal law."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

LIKE = 200  # training windows on which the errors of a baseline are measured
FEW = 0.3  # a correlation below it is no season
NEAR = 0.9  # of the highest one: two seasons are as like as one
WIDE = 600  # numbers of an item, beyond which their covariance is not estimated


class SeriesBaseline(ABC):
    """What tells the hidden numbers of a series by the given ones, and how sure it is.

    name: for people. tail: whether it can only tell the last steps.
    """

    name: str
    tail: bool = False

    @abstractmethod
    def told(self, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each number, (channels, length), of a series with NaN where it is not known."""


def baselines(train: np.ndarray) -> list[SeriesBaseline]:
    """All that can be fitted to training windows (n, channels, length)."""
    lag = season(train)
    found: list[SeriesBaseline] = [SeasonalNaive(train[:LIKE], lag), Autoregression.fit(train, lag)]
    return [*found, NormalLaw.fit(train)] if 2 < train[0].size <= WIDE < len(train) * 3 else found


def season(train: np.ndarray) -> int:
    """The first lag, up to half of the length, at which windows (n, channels, length) are about most like themselves;
    1: none.
    """
    x = train - train.mean(-1, keepdims=True)
    lags = np.arange(1, max(2, train.shape[-1] // 2 + 1))
    found = np.array([(x[..., k:] * x[..., :-k]).mean() for k in lags]) / max(float((x**2).mean()), 1e-30)
    peaks = [i for i in range(1, len(lags) - 1) if found[i] >= max(found[i - 1], found[i + 1], FEW)]
    best = max((found[i] for i in peaks), default=0.0)
    return next((int(lags[i]) for i in peaks if found[i] >= NEAR * best), 1)


@dataclass(frozen=True, eq=False)
class SeasonalNaive(SeriesBaseline):
    """The number one season before, or as many seasons as it takes to a given one, else after it; 1: the last number.

    The deviation is that of the same question's errors on training windows.
    """

    train: np.ndarray
    lag: int

    @property
    def name(self) -> str:
        return f"seasonal naive, season {self.lag}" if self.lag > 1 else "naive"

    def told(self, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gone = np.isnan(given)
        windows = np.where(gone, np.nan, self.train)
        errors = self._repeated(windows) - self.train
        return self._repeated(given[None])[0], np.sqrt((errors**2).mean(0))

    def _repeated(self, given: np.ndarray) -> np.ndarray:
        """Series (n, channels, length) whose NaN, the same in all, are the numbers of other seasons."""
        found = given.copy()
        length = given.shape[-1]
        for channel, step in np.argwhere(np.isnan(given[0])):
            others = [*range(step - self.lag, -1, -self.lag), *range(step + self.lag, length, self.lag)]
            there = [at for at in others if not np.isnan(given[0, channel, at])]
            known = np.flatnonzero(~np.isnan(given[0, channel]))
            if there:
                found[:, channel, step] = given[:, channel, there[0]]
            elif len(known):
                found[:, channel, step] = given[:, channel, known[np.abs(known - step).argmin()]]
            else:
                found[:, channel, step] = self.train[:, channel].mean()
        return found


@dataclass(frozen=True, eq=False)
class Autoregression(SeriesBaseline):
    """x_t = c + a_1 x_(t-1) + ... + a_p x_(t-p) + e of each channel by itself, by least squares over training windows.

    The forecast's variance is that of e times the sum of psi_k^2, psi the response to one e. What is missing of the
    past is a straight line.
    """

    weights: np.ndarray  # (channels, p), the nearest step first
    constant: np.ndarray
    noise: np.ndarray
    tail: bool = True

    @property
    def name(self) -> str:
        return f"autoregression of order {self.weights.shape[1]}"

    @classmethod
    def fit(cls, train: np.ndarray, lag: int) -> "Autoregression":
        length = train.shape[-1]
        order = int(np.clip(lag + 1, 2, max(1, length // 2)))
        found = []
        for channel in np.moveaxis(train, 1, 0).astype(np.float64):
            rows = np.lib.stride_tricks.sliding_window_view(channel, order + 1, axis=1).reshape(-1, order + 1)
            middle = rows.mean()
            past = np.concatenate([rows[:, -2::-1] - middle, np.ones((len(rows), 1))], axis=1)
            solved, *_ = np.linalg.lstsq(past, rows[:, -1] - middle, rcond=None)
            errors = rows[:, -1] - middle - past @ solved
            found.append((solved[:-1], middle * (1 - solved[:-1].sum()) + solved[-1], errors.std()))
        weights, constant, noise = (np.array(each) for each in zip(*found, strict=True))
        return cls(weights, constant, noise)

    def told(self, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = given.astype(np.float64), np.zeros(given.shape)
        order = self.weights.shape[1]
        for channel, weights, constant, noise, line in zip(
            mean, self.weights, self.constant, self.noise, std, strict=True
        ):
            known = np.flatnonzero(~np.isnan(channel))
            start = known[-1] + 1
            places = np.arange(start)
            channel[:start] = np.interp(places, known, channel[known])
            answer = np.zeros(len(channel) - start + order)  # psi, behind zeros
            for step in range(start, len(channel)):
                past = channel[max(0, step - order) : step][::-1]
                channel[step] = constant + weights[: len(past)] @ past
                place = step - start + order
                answer[place] = 1.0 if step == start else weights @ answer[place - order : place][::-1]
                line[step] = noise * np.sqrt((answer**2).sum())
        return mean, std


@dataclass(frozen=True, eq=False)
class NormalLaw(SeriesBaseline):
    """The law of the hidden numbers given the others where whole windows are normal: mean m + C_hk C_kk^-1 (x_k - m_k).

    The covariance is estimated with shrinkage (Ledoit and Wolf 2004).
    """

    centre: np.ndarray
    cov: np.ndarray
    name: str = "normal law"

    @classmethod
    def fit(cls, train: np.ndarray) -> "NormalLaw":
        from sklearn.covariance import LedoitWolf

        flat = train.reshape(len(train), -1).astype(np.float64)
        scale = flat.std(0) + 1e-12
        cov = LedoitWolf().fit(flat / scale).covariance_
        return cls(flat.mean(0), cov * scale * scale[:, None])

    def told(self, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat = given.reshape(-1).astype(np.float64)
        known = ~np.isnan(flat)
        weights = np.linalg.solve(self.cov[np.ix_(known, known)], self.cov[np.ix_(known, ~known)])
        mean, var = flat.copy(), np.zeros(len(flat))
        mean[~known] = self.centre[~known] + (flat[known] - self.centre[known]) @ weights
        var[~known] = np.diag(self.cov)[~known] - (weights * self.cov[np.ix_(known, ~known)]).sum(0)
        return mean.reshape(given.shape), np.sqrt(np.maximum(var, 0)).reshape(given.shape)
