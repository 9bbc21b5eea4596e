"""Which numbers of an item are hidden in training, so that a model learns to fill them in: the future, points, gaps."""

from collections.abc import Callable
from functools import partial

import numpy as np

from undiffuse.conditions.condition_kind import Derive
from undiffuse.core.errors import Refused, unknown
from undiffuse.progress import progress_bar

KNOWN, ASKED, MISSING = 1, 0, -1  # of a number: it is given, it is to be guessed, the data do not have it
Way = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]  # an item's shape -> booleans, true where hidden


def ways(of: str, name: str) -> dict[str, Way]:
    """The ways to hide numbers that a text names, by their words, parted by commas. The last axis is that of time.

    forecast:STEPS hides the last steps; missing:SHARE each number with a chance that is uniform from 0 to SHARE for
    each item; segment:STEPS all channels in one gap of 1 to so many steps.
    Raises Refused for other words, and for numbers that do not fit.
    """
    found: dict[str, Way] = {}
    for word in filter(None, of.replace(" ", "").split(",")):
        kind, _, number = word.partition(":")
        if kind not in MAKERS:
            raise unknown(f"conditions.{name}.of", kind, MAKERS)
        make, least, most, usage = MAKERS[kind]
        try:
            size = float(number)
        except ValueError:
            raise Refused(f"conditions.{name}.of = {word!r}: write {usage}") from None
        if not least <= size <= most or (most > 1 and size != int(size)):
            raise Refused(f"conditions.{name}.of = {word!r}: write {usage}")
        found[word] = partial(make, size)
    if not found:
        raise Refused(f"conditions.{name}.of = {of!r}: write one or more of {', '.join(usage_of())}, with commas")
    return found


def usage_of() -> list[str]:
    """How each way is written."""
    return [f"{kind}:{'SHARE' if most <= 1 else 'STEPS'}" for kind, (_, _, most, _) in MAKERS.items()]


def hide(of: str, name: str) -> Derive:
    """What makes (count, 2 channels, ...) of items (count, channels, ...): their numbers, and KNOWN, ASKED or MISSING.

    An item's own place among the items fixes how it is asked for, and what is hidden of it.
    """
    return partial(_hidden, tuple(ways(of, name).values()), name)


def _hidden(
    ways: tuple[Way, ...], name: str, x: np.ndarray, white: float, missing: np.ndarray | None = None
) -> np.ndarray:
    """In the items' dtype, or float32 of whole numbers. missing: booleans, where the data have no number."""
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    found = np.empty((len(x), 2, *x.shape[1:]), dtype)
    for i in progress_bar(range(len(x)), desc=f"making {name}", unit="item", delay=2, leave=False):
        random = np.random.Generator(np.random.Philox(key=i))
        gone = ways[int(random.integers(len(ways)))](x.shape[1:], random)
        found[i] = x[i], state(gone, None if missing is None else missing[i])
    return found.reshape(len(x), 2 * x.shape[1], *x.shape[2:])


def state(hidden: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
    """KNOWN, ASKED or MISSING of each number; missing: where the data have none."""
    found = np.where(hidden, ASKED, KNOWN)
    return found if missing is None else np.where(missing, MISSING, found)


def _forecast(steps: float, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if steps >= shape[-1]:
        raise Refused(f"forecast:{steps:g} leaves no past in items of {shape[-1]} steps: forecast fewer steps")
    return np.broadcast_to(np.arange(shape[-1]) >= shape[-1] - int(steps), shape)


def _missing(share: float, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    return random.random(shape) < share * random.random()


def _segment(steps: float, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if steps >= shape[-1]:
        raise Refused(f"segment:{steps:g} hides whole items of {shape[-1]} steps: make it shorter")
    long = int(random.integers(int(steps))) + 1
    start = int(random.integers(shape[-1] - long + 1))
    place = np.arange(shape[-1])
    return np.broadcast_to((place >= start) & (place < start + long), shape)


MAKERS: dict[str, tuple[Callable[..., np.ndarray], float, float, str]] = {
    "forecast": (_forecast, 1, 2**24, "forecast:STEPS, the steps that are hidden at the end, such as forecast:24"),
    "missing": (_missing, 0.01, 1, "missing:SHARE, the most that is hidden here and there, such as missing:0.5"),
    "segment": (_segment, 1, 2**24, "segment:STEPS, the longest gap, such as segment:12"),
}
