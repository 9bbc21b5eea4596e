"""Time of one network evaluation inside our sampling loop, beside diffusers' DDIMPipeline on the same weights.

    python benchmarks/speed.py [--pairs 3] [--steps 10] [--batch 16]

The U-Net is DDPM's for CIFAR-10 (35.7 M parameters, diffusers' random weights), saved by diffusers and read by both
sides. Runs alternate; medians of the pairs. PSNR is between final images in [0, 1] from the same starting noise.
`outside the network` is the share of our time that is not the network's.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import undiffuse
from undiffuse.networks.precision import pick, place
from undiffuse.networks.unet import UNet

diffusers: Any = importlib.import_module("diffusers")


CIFAR10: dict[str, Any] = {
    "sample_size": 32,
    "layers_per_block": 2,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}


class Timed(torch.nn.Module):
    """A network that adds up the time it takes."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, *args: object, **kwargs: object) -> torch.Tensor:
        start = time.perf_counter()
        output = self.network(*args, **kwargs)
        self.seconds += time.perf_counter() - start
        return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    schedule = undiffuse.schedules.LinearBeta()
    shape = (options.batch, 3, 32, 32)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        peer = diffusers.UNet2DModel(**CIFAR10).eval()
        peer.save_pretrained(folder)
        pipeline = diffusers.DDIMPipeline(
            peer, diffusers.DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing", clip_sample=False)
        )
        pipeline.set_progress_bar_config(disable=True)
        for precision in ("auto", "float32"):
            network = Timed(UNet.from_diffusers(Path(folder)))
            denoiser = (
                undiffuse.Predictor(network, undiffuse.Gaussian(schedule), undiffuse.parameterizations.Noise())
                .eval()
                .requires_grad_(False)
            )
            place(denoiser, pick(precision, torch.device("cpu"), denoiser), torch.device("cpu"))
            times = undiffuse.grids.Trailing()(schedule, options.steps)
            images, reference = torch.zeros(()), torch.zeros(()).numpy()
            ratios, shares, mine, theirs = [], [], [], []
            for pair in range(options.pairs + 1):
                start = torch.randn(shape, generator=torch.Generator().manual_seed(pair))
                network.seconds, began = 0.0, time.perf_counter()
                plan: dict[str, Any] = {"sampler": undiffuse.samplers.DDIM(), "times": times, "start": start}
                images = undiffuse.sample(denoiser, shape, **plan)
                middle = time.perf_counter()
                reference = pipeline(
                    batch_size=options.batch,
                    generator=torch.Generator().manual_seed(pair),
                    num_inference_steps=options.steps,
                    output_type="np",
                ).images
                end = time.perf_counter()
                if pair:  # the first is a warm-up
                    mine.append((middle - began) / options.steps)
                    theirs.append((end - middle) / options.steps)
                    ratios.append(theirs[-1] / mine[-1])
                    shares.append(1 - network.seconds / (middle - began))
            error = ((images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1) - torch.from_numpy(reference)).square().mean()
            dtype = next(denoiser.parameters()).dtype
            ours_ms, theirs_ms = (1000 * statistics.median(side) for side in (mine, theirs))
            print(
                f"{precision} ({dtype}): ours {ours_ms:.0f} ms, DDIMPipeline {theirs_ms:.0f} ms a call, "
                f"{statistics.median(ratios):.2f}x faster, PSNR {-10 * torch.log10(error):.1f} dB, "
                f"outside the network {100 * statistics.median(shares):.2f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
