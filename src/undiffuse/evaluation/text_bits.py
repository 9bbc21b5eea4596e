"""The bound of texts in common units: bits per character and perplexity, beside those of a model by counts."""

from typing import Any

import numpy as np

from undiffuse.data.dataset import Dataset
from undiffuse.evaluation.markov import ORDER, bits

MOST = 1000.0  # bits, whose perplexity is a number still


def summary(train: Dataset, seen: Dataset, per_token: float) -> dict[str, Any]:
    """In JSON's types. seen: the held-out items that were looked at; per_token: the bound of them in bits a token.

    bits_per_character: all bits of the items over all characters that they spell, padding left out. perplexity:
    2^(bits per token), up to 2^MOST. baseline: the same items under a model of the last three tokens, counted in the
    training items.
    """
    texts = [len(text) for text in seen.texts(len(seen))]
    tokens, characters = seen.x.size, max(1, sum(texts))
    counted = bits(np.asarray(train.x), np.asarray(seen.x), seen.vocabulary)
    return {
        "unit": seen.spelling["unit"],
        "bits_per_character": per_token * tokens / characters,
        "perplexity": 2 ** min(per_token, MOST),
        "baseline": {
            "order": ORDER,
            "bits_per_token": float(counted.sum() / tokens),
            "bits_per_character": float(counted.sum() / characters),
        },
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The summary for people."""
    base, bound = found["baseline"], found["bits_per_character"]
    said = f"bits per character: {bound:.4f} (bound), perplexity {found['perplexity']:.3f} per token (2^bits); "
    counted = f"{base['bits_per_character']:.4f} bits per character, by counts of {base['order']} tokens and the next"
    return [f"{said}a token is one of the text's {found['unit']}", f"baseline: {counted} in the training part"]
