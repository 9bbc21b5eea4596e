"""People as a census asks about them, drawn from a known law: numbers and words that depend on each other."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source

SCHOOLS = ("none", "school", "college", "university")
WORK = ("craft", "office", "professional", "sales", "service")
MARITAL = ("divorced", "married", "single", "widowed")
SEX = ("female", "male")
INCOME = ("high", "low")

_SCHOOL = np.array([0.12, 0.45, 0.25, 0.18])
_WORK = np.array(  # by school
    [
        [0.45, 0.10, 0.01, 0.14, 0.30],
        [0.35, 0.20, 0.05, 0.18, 0.22],
        [0.18, 0.32, 0.20, 0.18, 0.12],
        [0.03, 0.22, 0.60, 0.11, 0.04],
    ]
)
_HOURS = np.array([41.0, 38.0, 43.0, 39.0, 34.0])  # by work
_RISE = np.array([-1.4, -0.5, 0.4, 1.4])  # of the odds of a high income, by school


class People(NamedTuple):
    """Columns, (count,) each; words as places among their names."""

    age: np.ndarray
    hours: np.ndarray
    gain: np.ndarray
    school: np.ndarray
    work: np.ndarray
    marital: np.ndarray
    sex: np.ndarray
    income: np.ndarray


@dataclass(frozen=True)
class Census(Source):
    """`count` independent people: age, hours a week, capital gain (nine of ten have none), education, occupation,
    marital status, sex, and whether the income is high, which hangs on all but the sex.

    age = 17 + 73 Beta(1.6, 3); education is four levels; occupation is drawn by education; who is older is less often
    single; hours ~ N(by occupation and sex, 8) in 1 ... 99, and 40 for every third; gain is 0, or for 10 % (rather the
    educated) e^N(8.2, 1) rounded to 10;
    logit p(high) = -2.6 + rise(education) + 0.05 (min(age, 50) - 38) + 0.05 (hours - 40) + 1.3 [married] + 0.9
    [professional] + 2.5 [gain > 5000].
    Raises Refused for a count below 1 and a seed below 0.
    """

    count: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise Refused(f"a census needs count >= 1 and seed >= 0, not {self.count} and {self.seed}")

    def load(self) -> Dataset:
        """The people as rows of a mixed table."""
        people = _draw(np.random.Generator(np.random.Philox(self.seed)), self.count)
        columns = ("age", "hours", "gain", "education", "occupation", "marital", "sex", "income")
        categories = ((), (), (), SCHOOLS, WORK, MARITAL, SEX, INCOME)
        x = np.stack(people, axis=1).astype(np.float32)
        return Dataset(x, columns=columns, categories=categories, name="census", drawn=True)


def _draw(random: np.random.Generator, count: int) -> People:
    age = np.floor(17 + 73 * random.beta(1.6, 3, count))
    school = _chosen(random, np.broadcast_to(_SCHOOL, (count, 4)))
    work = _chosen(random, _WORK[school])
    single = 1 / (1 + np.exp((age - 27) / 5))
    widowed = (1 - single) * 0.35 / (1 + np.exp((68 - age) / 5))
    divorced = (1 - single - widowed) * 0.22
    marital = _chosen(random, np.stack([divorced, 1 - single - widowed - divorced, single, widowed], axis=1))
    sex = (random.random(count) < np.array([0.85, 0.3, 0.55, 0.5, 0.4])[work]).astype(np.int64)
    hours = np.round(_HOURS[work] + 3 * sex + 8 * random.standard_normal(count)).clip(1, 99)
    hours = np.where(random.random(count) < 1 / 3, 40.0, hours)
    some = random.random(count) < np.array([0.05, 0.08, 0.11, 0.17])[school]
    gain = np.where(some, np.round(np.exp(8.2 + random.standard_normal(count)), -1), 0.0)
    odds = -2.6 + _RISE[school] + 0.05 * (np.minimum(age, 50) - 38) + 0.05 * (hours - 40)
    odds = odds + 1.3 * (marital == 1) + 0.9 * (work == 2) + 2.5 * (gain > 5000)
    income = (random.random(count) >= 1 / (1 + np.exp(-odds))).astype(np.int64)
    return People(age, hours, gain, school, work, marital, sex, income)


def _chosen(random: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    """A place for each row, by that row's chances; (count, places) -> (count,)."""
    level = random.random(len(chances))
    return np.minimum((chances.cumsum(1) <= level[:, None]).sum(1), chances.shape[1] - 1)
