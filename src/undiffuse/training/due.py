"""Schedules: what is due after which step."""

from undiffuse.recipes.settings import Train

EARLY, LONG = (100, 200), 1000  # steps after which runs of at least so many show what they can do already


def now(every: int, step: int, steps: int) -> bool:
    """Whether a job that is done every so many steps, and after the last one, is due after this step; 0 is never."""
    return every > 0 and (step == steps or step % every == 0)


def preview(settings: Train, step: int) -> bool:
    """Whether the run shows what it can do: at the start, early where it is long, and then as often as it is asked to.

    A run that ends before its first preview, and before 100 steps, shows its end alone.
    """
    every, steps = settings.preview_every, settings.steps
    if step == 0:
        return 0 < min(every, EARLY[0]) <= steps
    return now(every, step, steps) or (step in EARLY and step < every and steps >= LONG)
