"""Tokens a second and peak memory of sampling a large vocabulary, beside a plain loop; and what a training step costs.

    python benchmarks/tokens.py [--steps 64] [--length 1024] [--vocabulary 50000] [--pairs 5]

sampling: masked diffusion with a network of an embedding and a readout, so that the sampler is what is measured. plain:
the loop that papers' code has, written out below: the dense posterior over the vocabulary in float64 and a Gumbel draw
from all of it at every step. Each runs in a process of its own, whose peak memory is that of everything in it, and
seconds are of the processor, so that a busy machine does not count.
training: a step on a small transformer, over the bare masked-language-model step of the same network: masks, logits,
cross-entropy, backward, AdamW. Medians of pairs that alternate.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import undiffuse
from undiffuse.core.objective import Batch
from undiffuse.core.process.categorical import mask
from undiffuse.networks.transformer import Transformer
from undiffuse.objectives import Denoising

WIDTH = 16


class Readout(nn.Module):
    """Logits of each token by itself: an embedding and a linear layer."""

    reads_time = False

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(vocabulary + 1, WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        logits: Tensor = self.out(self.embed(x))
        return logits


def ours(network: nn.Module, vocabulary: int, length: int, steps: int) -> Tensor:
    process = undiffuse.Categorical(undiffuse.schedules.LogLinear(floor=0.0), mask(vocabulary + 1))
    denoiser = undiffuse.Predictor(network, process, "subs")
    times = undiffuse.grids.Even()(process.schedule, steps)
    return undiffuse.sample(denoiser, (1, length), sampler=undiffuse.samplers.Ancestral(), times=times)


@torch.no_grad()
def plain(network: nn.Module, vocabulary: int, length: int, steps: int) -> Tensor:
    x = torch.full((1, length), vocabulary)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for t, s in pairwise(times):
        probs = network(x, t).double().softmax(-1) * (1 - s / t)  # (1, length, vocabulary)
        posterior = torch.cat([probs, (s / t).expand(1, length, 1)], dim=-1)
        noise = -torch.rand(posterior.shape, dtype=torch.float64).log()
        x = torch.where(x == vocabulary, (posterior / noise).argmax(-1), x)
    return x


def measured(which: str, options: argparse.Namespace) -> dict[str, float]:
    """One of the two in a process of its own."""
    words = [f"--{name}={getattr(options, name)}" for name in ("steps", "length", "vocabulary")]
    done = subprocess.run(
        [sys.executable, __file__, "--alone", which, *words], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def alone(which: str, options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    network = Readout(options.vocabulary)
    start = time.process_time()
    x = {"ours": ours, "plain": plain}[which](network, options.vocabulary, options.length, options.steps)
    seconds = time.process_time() - start
    assert x.shape == (1, options.length)
    assert int(x.max()) < options.vocabulary
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def training(pairs: int, vocabulary: int = 4096, length: int = 128, batch: int = 8) -> float:
    """The median time of our step over the bare one's."""
    torch.manual_seed(0)
    network = Transformer(vocabulary=vocabulary + 1, shape=(length,), width=128, depth=4, heads=4, time="none")
    process = undiffuse.Categorical(undiffuse.schedules.LogLinear(floor=0.0), mask(vocabulary + 1))
    denoiser = undiffuse.Predictor(network, process, "subs")
    objective, optimizer = Denoising("data"), torch.optim.AdamW(network.parameters(), 1e-4)
    x = torch.randint(vocabulary, (batch, length))

    def bare() -> Tensor:
        t = torch.rand(batch, 1).clamp(min=1e-3)
        hidden = torch.rand(batch, length) < t
        logits = network(torch.where(hidden, vocabulary, x), torch.zeros(batch))[..., :vocabulary]
        target = torch.where(hidden, x, -100)
        return F.cross_entropy(logits.reshape(-1, vocabulary), target.reshape(-1), reduction="sum") / x.numel()

    def step(loss: Any) -> float:
        start = time.process_time()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        return time.process_time() - start

    found: list[float] = []
    for i in range(pairs + 1):
        own = step(lambda i=i: objective.loss(denoiser, Batch(x), undiffuse.Random(i)).mean())
        found.append(own / step(bare))
    return statistics.median(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--alone", choices=["ours", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.alone:
        return alone(options.alone, options)
    own, theirs = measured("ours", options), measured("plain", options)
    print(f"{options.length} tokens of {options.vocabulary}, {options.steps} steps | ours | plain | ours over plain")
    rate = [options.length / each["seconds"] for each in (own, theirs)]
    print(f"tokens a second | {rate[0]:.1f} | {rate[1]:.1f} | {rate[0] / rate[1]:.2f}")
    print(f"peak memory, MB | {own['peak']:.0f} | {theirs['peak']:.0f} | {own['peak'] / theirs['peak']:.2f}")
    print(f"training step over a bare one | | | {training(options.pairs):.3f}")
    return None


if __name__ == "__main__":
    main()
