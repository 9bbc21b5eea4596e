"""CLIP score and retrieval of captions: do samples show what their captions say, as a pair of encoders sees it?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from undiffuse.core.item_encoder import ItemEncoder
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict
from undiffuse.evaluation.retrieval import both_ways


@dataclass(frozen=True)
class ClipScore(Metric):
    """`clip_score`: the mean of max(100 cos, 0) of samples and their captions; `caption_retrieval`: how often a
    sample's own caption is the nearest of 10. The floor of both is that of held-out items with their captions.

    Sources: arXiv:2104.08718, eq. 1 with w = 100; arXiv:2103.00020, sec. 3.
    """

    needs: ClassVar[str] = "samples with captions, held-out captions and --features run:FOLDER of a pair of encoders"

    among: int = 10

    def applies(self, evidence: Evidence) -> bool:
        """Where the features are those of a pair of encoders, and samples and held-out items have captions."""
        return encoder(evidence) is not None and all(evidence.captions)

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`clip_score`, and `caption_retrieval` where there are ten captions."""
        reader: Any = encoder(evidence)
        seen = [torch.from_numpy(evidence.vectors.samples), torch.from_numpy(evidence.vectors.held_out)]
        read = [reader.encode_text(list(captions)) for captions in evidence.captions]
        scores = [
            100 * (items * texts).sum(1).clamp(min=0).double().numpy() for items, texts in zip(seen, read, strict=True)
        ]
        count, seed = len(seen[0]), evidence.seed
        found = {
            "clip_score": verdict(
                float(scores[0].mean()), float(scores[1].mean()), better="higher", count=count, seed=seed,
                standard_error=float(scores[0].std() / np.sqrt(count)),
            )
        }  # fmt: skip
        shares = [
            both_ways(items, texts, np.array(captions))["item to text"].get((1, self.among))
            for items, texts, captions in zip(seen, read, evidence.captions, strict=True)
        ]
        if shares[0] is not None and shares[1] is not None:
            found["caption_retrieval"] = verdict(
                shares[0], shares[1], better="higher", count=count, seed=seed, chance=1 / self.among
            )
        return found


def encoder(evidence: Evidence) -> ItemEncoder | None:
    """The pair of encoders whose vectors the features are; None: they are others."""
    return evidence.chosen.encoder
