"""A training step of a pair of encoders, beside a bare PyTorch loop of the same networks and precision.

    python benchmarks/contrastive.py [--pairs 5] [--steps 4]

A convolutional encoder of 32 x 32 colour images and a small transformer over the bytes of captions, batch 64, clean
items. Ours is the whole run: data from a file, averages of the weights, log, TensorBoard, checkpoints. The bare loop
has the networks, the symmetric loss, AdamW and data in memory, and nothing else. Blocks of steps alternate; the median
of the pairs' ratios, by the processor's seconds, which other programs do not change.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from undiffuse.conditions.text_encoder import encode
from undiffuse.networks.encoder import Encoder
from undiffuse.networks.precision import pick
from undiffuse.networks.text_transformer import TextTransformer
from undiffuse.training.start import train

BATCH, ITEMS, LENGTH, WIDTH = 64, 1024, 32, 128
ITEM: dict[str, Any] = {"width": 16, "multipliers": [1, 2, 4, 8], "blocks": 1, "attention": [3], "head_width": 32}
RECIPE: dict[str, Any] = {
    "kind": "clip",
    "data": {"name": "file", "conditions": {"text": "captions"}},
    "codec": {"name": "pixels"},
    "schedule": {"name": "cosine"},
    "network": {"name": "encoder", **ITEM},
    "text_network": {"name": "text_transformer", "width": WIDTH},
    "parameterization": {"name": "data"},
    "objective": {"name": "contrastive"},
    "conditions": {"text": {"kind": "text", "length": LENGTH}},
    "train": {"steps": 10**6, "batch": BATCH, "lr": 1e-4, "checkpoint_every": 100, "preview_every": 0},
}


def bare(images: np.ndarray, captions: list[str]) -> Iterator[float]:
    """The loop that everyone writes first."""
    items, texts = Encoder(channels=3, classes=WIDTH, **ITEM), TextTransformer((LENGTH,), WIDTH)
    project = torch.nn.Linear(WIDTH, WIDTH)
    scale = torch.nn.Parameter(torch.tensor(2.66))
    weights = [*items.parameters(), *texts.parameters(), *project.parameters(), scale]
    optimiser = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    x, words = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, encode(captions, "bytes", LENGTH)
    half = pick("auto", torch.device("cpu"), items) is torch.bfloat16
    own, clean = torch.arange(BATCH), torch.zeros(BATCH)
    while True:
        rows = torch.randint(len(x), (BATCH,))
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext():
            u = F.normalize(project(items(x[rows], clean)).float(), dim=1)
            v = F.normalize(texts(words[rows]).float(), dim=1)
            logits = scale.exp() * u @ v.T
            loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        yield loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="in a block")
    given = parser.parse_args()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (ITEMS, 32, 32, 3), np.uint8)
    captions = [f"caption number {i}" for i in range(ITEMS)]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "pairs.npz")
        np.savez(file, images=images, captions=np.array(captions))
        turns: list[Any] = [
            bare(images, captions),
            train(RECIPE, out=Path(temporary, "run"), overrides=[f"data.path={file}"]),
        ]
        times: list[list[float]] = []
        for _ in range(given.pairs + 1):
            times.append([])
            for turn in turns:
                started = time.process_time()
                for _ in range(given.steps):
                    next(turn)
                times[-1].append((time.process_time() - started) / given.steps)
        times = times[1:]  # the first warms up
        one, other = (statistics.median(side) for side in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(f"bare loop {one:.3f} s, whole run {other:.3f} s of the processor a step: {ratio:.3f} times")


if __name__ == "__main__":
    main()
