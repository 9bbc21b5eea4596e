"""A picture of the samples that are nearest to training items, above those items, to make copies visible."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from undiffuse import pictures
from undiffuse.evaluation.metrics.evidence import Parts

CLOSEST = "closest.png"
PAIRS = 8


def picture(items: Parts, verdicts: Mapping[str, Mapping[str, Any]]) -> Image.Image | None:
    """Samples above, the nearest training item of each below; None without images or without the metric."""
    pairs = verdicts.get("memorisation", {}).get("detail", {}).get("pairs", [])[:PAIRS]
    if not pairs or items.train.ndim != 4:
        return None
    samples, train = items.samples[[i for i, _, _ in pairs]], items.train[[j for _, j, _ in pairs]]
    return pictures.lined(pictures.to_uint8(np.stack([samples, train])), ("sample", "nearest"))


def caption(verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """What the picture shows, and the numbers beside it."""
    verdict = verdicts["memorisation"]
    found = verdict["detail"]
    return (
        f"Above: samples; below: the training item nearest to each. {found['copies']} of {verdict['count']:,} "
        f"samples are exact copies; a sample is nearer to the training data than a held-out item in "
        f"{100 * found['nearer']:.0f} % of comparisons (50 % is ideal, 100 % is copying)."
    )
