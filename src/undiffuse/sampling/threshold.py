"""A threshold of guesses as it is asked for: "none", "static", "dynamic:PERCENTILE" or "nearest:LEVEL"."""

from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.errors import Refused, unknown
from undiffuse.sampling.words import numbers

OFF, STATIC, DYNAMIC, NEAREST = "none", "static", "dynamic", "nearest"
PERCENTILE = 0.995  # of a dynamic threshold where none is said


def percentile(threshold: str | None) -> float | None:
    """The percentile of a dynamic threshold, None for the others; raises Refused for a threshold that there is not."""
    if threshold in (None, OFF, STATIC):
        return None
    kind, colon, text = str(threshold).partition(":")
    if kind == NEAREST:
        return None
    if kind != DYNAMIC:
        known = (OFF, STATIC, DYNAMIC, f"{DYNAMIC}:{PERCENTILE}", NEAREST, f"{NEAREST}:1")
        raise unknown("threshold", kind, known)
    says = f"threshold is dynamic:PERCENTILE with a share in (0, 1], as dynamic:{PERCENTILE}; not {threshold!r}"
    (share,) = numbers(text, says)[:1] if colon else (PERCENTILE,)
    if not 0 < share <= 1:
        raise Refused(says)
    return share


def level(threshold: str | None) -> float | None:
    """The noise level sigma/alpha up to which guesses are clamped to the nearest embedding, None where they are not."""
    kind, colon, text = str(threshold).partition(":")
    if kind != NEAREST:
        return None
    says = f"threshold is nearest:LEVEL with a noise level above 0, as nearest:1; not {threshold!r}"
    (highest,) = numbers(text, says)[:1] if colon else (float("inf"),)
    if not highest > 0:
        raise Refused(says)
    return highest


def bounds(codec: Codec, threshold: str) -> tuple[float, float]:
    """The range of what a codec encodes to; raises Refused where it has none."""
    if codec.bounds is None:
        raise Refused(
            f"threshold = {threshold!r} needs data with bounds, such as those of codec 'pixels'; latents, tokens and "
            f"what {registry.name_of(codec)!r} encodes have none"
        )
    return codec.bounds
