"""A whole picture of a small Stable Diffusion beside diffusers' StableDiffusionPipeline, on the same weights.

    python benchmarks/stable_diffusion.py [--pairs 5] [--steps 10] [--width 64] [--threads 1]

Needs transformers (pip install 'undiffuse[text]'). Random weights in the layout of Stable Diffusion 1: a U-Net of
widths 64, 128, 256, 256 with 8 heads, latents of 4 x 32 x 32, a text encoder of 4 layers, an autoencoder of widths 32
to 128; a prompt, guidance 7.5, DDIM. Both sides read one folder and go from the same noise to pixels. They alternate;
medians of the pairs, in our default precision and in float32. `difference`: mean of the pictures' levels of 255.
"""

import argparse
import importlib
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import undiffuse

diffusers: Any = importlib.import_module("diffusers")
transformers: Any = importlib.import_module("transformers")

PROMPT = "a red boat on a quiet lake"


def tokenizer(folder: Path) -> int:
    """A tokenizer of CLIP's kind that merges nothing; returns how many symbols it has."""
    folder.mkdir(parents=True)
    letters = [chr(i) for i in range(33, 127)]
    symbols = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    said = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return len(symbols)


def write(folder: Path, width: int) -> None:
    """The pipeline's folder."""
    torch.manual_seed(0)
    symbols = tokenizer(folder / "tokenizer")
    config = transformers.CLIPTextConfig(
        vocab_size=symbols, hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4,
        bos_token_id=symbols - 2, eos_token_id=symbols - 1, pad_token_id=symbols - 1,
    )  # fmt: skip
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            block_out_channels=(32, 64, 128, 128), layers_per_block=1, sample_size=256,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        text_encoder=transformers.CLIPTextModel(config),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=diffusers.UNet2DConditionModel(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width), cross_attention_dim=256, sample_size=32,
        ),
        scheduler=diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    print(f"{'precision':<10} {'ours':>9} {'diffusers':>10} {'ratio':>7}  {'range':<16} difference")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "pipeline")
        write(folder, given.width)
        peer = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
        peer.set_progress_bar_config(disable=True)
        noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(1))
        for precision in ("auto", "float32"):
            run = undiffuse.load(folder, precision)

            def ours(run: Any = run) -> np.ndarray:
                session = run.open(n=1, text=PROMPT, steps=given.steps, guidance=7.5)
                return replace(session, start=noise).draw().numpy()

            def theirs() -> np.ndarray:
                found = peer(
                    PROMPT, num_inference_steps=given.steps, guidance_scale=7.5, latents=noise, output_type="np"
                )
                return (found.images * 255).round().transpose(0, 3, 1, 2)

            times: list[tuple[float, float]] = []
            pictures: dict[Any, np.ndarray] = {}
            for pair in range(given.pairs + 1):  # the first warms up
                seconds: dict[Any, float] = {}
                for side in ((ours, theirs), (theirs, ours))[pair % 2]:
                    start = time.process_time() if given.threads == 1 else time.perf_counter()
                    pictures[side] = side()
                    stop = time.process_time() if given.threads == 1 else time.perf_counter()
                    seconds[side] = stop - start
                times.append((seconds[ours], seconds[theirs]))
            own, other = (statistics.median(side) for side in zip(*times[1:], strict=True))
            ratios = [b / a for a, b in times[1:]]
            apart = np.abs(pictures[ours].astype(float) - pictures[theirs]).mean()
            used = str(next(run.module.parameters()).dtype).removeprefix("torch.")
            print(f"{used:<10} {own:8.2f}s {other:9.2f}s {statistics.median(ratios):6.2f}x  "
                  f"{min(ratios):.2f} to {max(ratios):.2f}     {apart:.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
