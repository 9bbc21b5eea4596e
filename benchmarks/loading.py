"""Loading a folder of Stable Diffusion 1.5, beside diffusers: seconds, and the most memory above that of the imports.

    python benchmarks/loading.py [--runs 3]

The folder holds random weights in float32 of the published shapes (4.3 GB), made in a temporary folder that is removed
again; it lies in the page cache for both. undiffuse opens the whole folder; diffusers the U-Net and the autoencoder,
and the text encoder where transformers can be imported. `load` is until the call returns, `cpu` the processor's part of
it, `read` until every weight was read once, too, as the first picture does, and again the processor's part: both map
files, so that `load` copies nothing that needs no change. Memory is the largest resident set of the process, mapped
pages among it (Linux), over the files that were opened.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

MAKE = '''
import json, sys
from pathlib import Path
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import save_file

folder = Path(sys.argv[1])
noise = 0.02 * torch.randn(1 << 20, dtype=torch.float32)

def save(shapes, part, file):
    """Weights of these shapes, all of one piece of noise."""
    held = {name: noise.repeat(-(-shape.numel() // len(noise)))[: shape.numel()].view(shape) for name, shape in shapes}
    (folder / part).mkdir(parents=True)
    save_file(held, folder / part / file, metadata={"format": "pt"})

def text():
    """The shapes of CLIP's text encoder (ViT-L/14)."""
    yield "embeddings.token_embedding.weight", (49408, 768)
    yield "embeddings.position_embedding.weight", (77, 768)
    for i in range(12):
        for name, out, given in (
            *((f"self_attn.{part}_proj", 768, 768) for part in ("q", "k", "v", "out")),
            *(("mlp.fc1", 3072, 768), ("mlp.fc2", 768, 3072)),
        ):
            yield f"encoder.layers.{i}.{name}.weight", (out, given)
            yield f"encoder.layers.{i}.{name}.bias", (out,)
        for name in ("layer_norm1.weight", "layer_norm1.bias", "layer_norm2.weight", "layer_norm2.bias"):
            yield f"encoder.layers.{i}.{name}", (768,)
    yield "final_layer_norm.weight", (768,)
    yield "final_layer_norm.bias", (768,)

levels = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
with torch.device("meta"):
    unet = UNet2DConditionModel(cross_attention_dim=768, sample_size=64)
    vae = AutoencoderKL(block_out_channels=[128, 256, 512, 512], layers_per_block=2, sample_size=512, **levels)
for model, part in ((unet, "unet"), (vae, "vae")):
    save([(n, w.shape) for n, w in model.state_dict().items()], part, "diffusion_pytorch_model.safetensors")
    model.save_config(folder / part)
save([(f"text_model.{n}", torch.Size(shape)) for n, shape in text()], "text_encoder", "model.safetensors")
said = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "hidden_size": 768, "vocab_size": 49408,
        "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
(folder / "text_encoder" / "config.json").write_text(json.dumps(said))
betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DDIMScheduler(**betas, steps_offset=1, set_alpha_to_one=False, clip_sample=False).save_pretrained(folder / "scheduler")
'''

LOAD = """
import gc, json, re, sys, time
from pathlib import Path
import torch
who, folder = sys.argv[1:3]
if who == "undiffuse":
    from pydantic import TypeAdapter  # which pydantic imports when it is first asked for
    from undiffuse.core import registry
    from undiffuse.models.load import load
    for kind, name in (("models", "diffusion"), ("models", "autoencoder"), ("models", "text_encoder"),
                       ("pipelines", "stable_diffusion"), ("networks", "unet"), ("networks", "autoencoder_kl"),
                       ("conditions", "prompt"), ("codecs", "latent"), ("objectives", "autoencoding"),
                       ("bottlenecks", "kl"), ("schedules", "scaled_linear_beta"), ("parameterizations", "noise")):
        registry.get(kind, name)
    open_ = lambda: load(folder, "float32", "cpu")
    modules = lambda run: [run.module, *(each.module for each in run.uses.values())]
else:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    open_ = lambda: [kind.from_pretrained(folder + part) for part, kind in PARTS]
    PARTS = [("/unet", UNet2DConditionModel), ("/vae", AutoencoderKL)]
    try:
        from transformers import CLIPTextModel
    except ImportError:
        pass
    else:
        PARTS.append(("/text_encoder", CLIPTextModel))
    modules = lambda models: models

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

gc.collect()
Path("/proc/self/clear_refs").write_text("5")
before, started, busy = kilobytes("VmRSS"), time.perf_counter(), time.process_time()
with torch.inference_mode():
    held = open_()
    loaded, cpu = time.perf_counter() - started, time.process_time() - busy
    peak = kilobytes("VmHWM") - before
    count = 0
    for each in modules(held):
        for weight in each.parameters():
            weight.sum()
            count += weight.numel()
    read, cpu_read = time.perf_counter() - started, time.process_time() - busy
found = {"load": loaded, "cpu": cpu, "read": read, "cpu_read": cpu_read, "peak_load": peak}
found |= {"peak": kilobytes("VmHWM") - before, "count": count}
print(json.dumps(found))
"""


def tokenizer(folder: Path) -> None:
    """CLIP's kind of tokenizer with no merges but one, which is all that loading asks of it."""
    folder.mkdir()
    letters = [chr(i) for i in range(ord("!"), ord("~") + 1)]
    symbols = [*letters, *(f"{each}</w>" for each in letters), "th", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    said = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>", **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def index(folder: Path) -> None:
    """model_index.json of a StableDiffusionPipeline without the parts that change no picture."""
    parts: dict[str, Any] = {
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "sd")
        subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True)
        tokenizer(folder / "tokenizer")
        index(folder)
        found: dict[str, list[dict[str, float]]] = {"undiffuse": [], "diffusers": []}
        for _ in range(runs):
            for who, measured in found.items():
                ran = subprocess.run(
                    [sys.executable, "-c", LOAD, who, str(folder)], check=True, stdout=subprocess.PIPE, text=True
                )
                measured.append(json.loads(ran.stdout.splitlines()[-1]))
        for who, measured in found.items():
            m = {name: median(each[name] for each in measured) for name in measured[0]}
            size = 4 * m["count"] / 1024  # kilobytes of what was opened, in float32
            print(
                f"{who:10} load {m['load']:6.2f} s, cpu {m['cpu']:5.2f} s  read {m['read']:6.2f} s, "
                f"cpu {m['cpu_read']:5.2f} s  peak of load {m['peak_load'] / size:.2f} and of read "
                f"{m['peak'] / size:.2f} times the {4 * m['count'] / 1e9:.2f} GB that were opened"
            )


if __name__ == "__main__":
    main()
