"""What a model answers where numbers of held-out items are hidden from it: many draws for each item."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from undiffuse.evaluation.sources import Real
from undiffuse.sampling.evaluation_request import Bar
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest

DRAWS, ITEMS = 25, 40  # draws for each item, and items


@dataclass(frozen=True, eq=False)
class Answer:
    """To one question, such as "forecast:24".

    given: (k, channels, ...) with NaN where it is not known. hidden: booleans, what was hidden of numbers that the data
    have. observed: the numbers themselves. samples: (draws, k, channels, ...).
    """

    given: np.ndarray
    hidden: np.ndarray
    observed: np.ndarray
    samples: np.ndarray


def asked(model: Generator, real: Real) -> str:
    """The condition by which a model completes items; "" where it has none that the data have, too."""
    names = [name for name, condition in model.conditions.items() if condition.completes]
    return next((name for name in names if name in real.held_out.conditions), "")


def answers(model: Generator, real: Real, request: SampleRequest, bar: Bar) -> Mapping[str, Answer]:
    """The answers to each question that training asked, about ITEMS held-out items, by its word; none of a model that
    completes no items.
    """
    name = asked(model, real)
    if not name:
        return {}
    some = real.held_out.some(ITEMS, request.seed)
    found: dict[str, Answer] = {}
    questions = model.conditions[name].questions(some.conditions[name])
    with bar("answering", "step") as advance:
        for i, (word, (given, hidden)) in enumerate(questions.items()):
            told = {**request.conditions, **_others(model, some.conditions, name), name: given.repeat(DRAWS, 0)}
            several = replace(request, n=len(given) * DRAWS, indices=None, candidates=1, conditions=told)

            def report(done: int, total: int, i: int = i) -> None:
                advance(i * total + done, len(questions) * total)

            drawn = model.open(several, progress=report).draw().numpy()
            samples = drawn.reshape(len(given), DRAWS, *drawn.shape[1:]).swapaxes(0, 1)
            found[word] = Answer(given, hidden, np.asarray(some.x), samples)
    return found


def _others(model: Generator, data: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    """The items' own values of the model's other conditions, of each draw."""
    return {
        other: [value for value in condition.from_items(data[other], model.classes) for _ in range(DRAWS)]
        for other, condition in model.conditions.items()
        if other != name and other in data
    }
