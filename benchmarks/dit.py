"""Time of one call of DiT-S/2 on latents, beside diffusers' DiTTransformer2DModel on the same weights.

    python benchmarks/dit.py [--pairs 5] [--batch 16] [--preset S] [--patch 2]

The model is diffusers' with random weights, its embeddings of time and class the same in every block, as in every
released one; it is saved by diffusers and read by both sides. Calls alternate; medians of the pairs. `off` is the norm
of the difference of the outputs, over the norm of diffusers' output.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.networks.dit import PRESETS, DiT
from undiffuse.networks.precision import pick, place

diffusers: Any = importlib.import_module("diffusers")
CPU = torch.device("cpu")


def peer(preset: str, patch: int) -> Any:
    """diffusers' model of a preset, on latents of 4 x 32 x 32 with 1,000 classes and learned variance."""
    width, depth, heads = PRESETS[preset]
    torch.manual_seed(0)
    found = diffusers.DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=4,
        out_channels=8,
        num_layers=depth,
        sample_size=32,
        patch_size=patch,
    ).eval()
    first, *others = found.transformer_blocks
    for block in others:
        block.norm1.emb.load_state_dict(first.norm1.emb.state_dict())
    return found


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.perf_counter()
    output = call()
    return output, time.perf_counter() - start


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--preset", default="S", choices=PRESETS)
    parser.add_argument("--patch", type=int, default=2)
    options = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    theirs = peer(options.preset, options.patch)
    x, times = torch.randn(options.batch, 4, 32, 32), torch.linspace(1, 999, options.batch).round()
    label = torch.arange(options.batch) * 37 % 1000
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        for name in ("auto", "float32"):
            ours = DiT.from_diffusers(Path(folder))
            dtype = pick(name, CPU, ours)
            place(ours, dtype, CPU)
            mine: list[float] = []
            peers: list[float] = []
            output = wanted = x
            for pair in range(options.pairs + 1):
                output, seconds = timed(lambda: ours(x.to(dtype), times, label=label).float())  # noqa: B023
                wanted, other = timed(lambda: theirs(x, times, class_labels=label).sample)
                if pair:  # the first is a warm-up
                    mine.append(seconds)
                    peers.append(other)
            faster = statistics.median(other / own for own, other in zip(mine, peers, strict=True))
            print(
                f"{name} ({dtype}): ours {1000 * statistics.median(mine):.0f} ms, diffusers "
                f"{1000 * statistics.median(peers):.0f} ms a call, {faster:.2f}x faster, "
                f"off by {float((output - wanted).norm() / wanted.norm()):.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
