"""The learning rate of a recipe, by a range test."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from undiffuse.core import devices
from undiffuse.core.errors import Refused
from undiffuse.progress import Advance
from undiffuse.recipes.recipe import Recipe
from undiffuse.storage.files import write_json
from undiffuse.training.range_test import BROKEN, RangeTest, range_test
from undiffuse.training.start import train
from undiffuse.training.stop import Stop
from undiffuse.tuning.place import draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RATE_TABLE, RATE_CURVE = "lr.json", "lr.png"
FEWEST = 20  # steps of a range test


@devices.on_cpu()
def learning_rate(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    overrides: Sequence[str] = (),
    first: float = 1e-5,
    last: float = 1.0,
    steps: int = 200,
    out: Path | None = None,
    advance: Advance = lambda done, total: None,
) -> RangeTest:
    """Train a recipe from its first weights while the learning rate rises from `first` to `last`, see `range_test`.

    out: the folder of the table and the curve, None writes nothing. Ctrl-C ends the test with what was seen so far.
    Raises Refused for rates that do not rise, and fewer steps than 20.
    """
    if not 0 < first < last < float("inf"):
        raise Refused(f"the learning rate of a range test rises, from above 0: not from {first:g} to {last:g}")
    if steps < FEWEST:
        raise Refused(f"a range test takes at least {FEWEST} steps, not {steps}")
    given = [*overrides, "train.validate_every=0", "train.preview_every=0", "train.snapshots=0"]
    with TemporaryDirectory(prefix="undiffuse-") as folder, Stop() as stop:
        training = train(recipe, out=Path(folder) / "run", overrides=given)
        found = range_test(training, first, last, steps, advance, lambda: stop.signal is not None)
        training.close()
    if out is not None:
        table = {"edge": found.edge, "suggested": found.suggested, "rates": found.rates, "losses": found.losses}
        write_json(out / RATE_TABLE, table)
        draw(out / RATE_CURVE, partial(_curve, found))
    return found


def _curve(found: RangeTest, axes: "Axes") -> None:
    """The loss against the rate, with the edge and what is suggested."""
    axes.semilogx(found.rates, found.losses, color="#2563eb")
    for rate, name, color in ((found.edge, "edge", "#dc2626"), (found.suggested, "suggested", "#16a34a")):
        axes.axvline(rate, color=color, lw=1, ls="--", label=f"{name}: {rate:.2g}")
    axes.set_ylim(0.9 * min(found.losses), min(max(found.losses), 1.1 * BROKEN * found.losses[0]))
    axes.set(xlabel="learning rate", ylabel="loss of a batch that is not trained on")
