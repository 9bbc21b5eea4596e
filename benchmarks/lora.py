"""A new style from ten pictures: what low rank learns, and what the base keeps, by rank.

    python benchmarks/lora.py --pictures emoji-style.npz --emoji fluent_emoji_64.npz
    python benchmarks/lora.py runs/emoji-latent-text --emoji fluent_emoji_64.npz [--ranks 1 4 16]

The style is charcoal: ten emoji that the base has held out, in grey, each with "charcoal" before its caption. The first
command writes them; the second trains the recipe emoji-lora on them at each rank. Then, for other captions that the
base has held out: how grey are the samples of "charcoal X" and of X (the mean distance of the colours of a pixel from
their own mean, of 255), and how often is a sample of X nearer to its own caption than to nine others, as
`benchmarks/retrieval.py` measures it, before and after? The base is without the LoRA. Writes a sheet: a row of samples
of X of the base, then of each rank a row of X and one of "charcoal X".
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import retrieval
import torch

import undiffuse
from undiffuse import pictures
from undiffuse.conditions.from_data import examples
from undiffuse.data.paths import on
from undiffuse.evaluation import sources
from undiffuse.storage.files import write_bytes

LUMA = np.array([0.299, 0.587, 0.114])
WORDS = (
    *("bear face", "volcano", "parrot", "teapot", "sandwich", "stopwatch", "rose", "tent", "banana", "sports medal"),
)
STYLE = "charcoal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/emoji-latent-text"))
    parser.add_argument("--emoji", type=Path, default=Path("fluent_emoji_64.npz"))
    parser.add_argument("--pictures", type=Path, help="write the ten pictures there, and nothing else")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--set", dest="settings", nargs="+", default=[], help="settings of the recipe")
    parser.add_argument("-n", type=int, default=60)
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("lora.png"))
    options = parser.parse_args()
    for needed in [options.emoji] if options.pictures else [options.emoji, options.run]:
        if not needed.exists():
            print(f"not there yet: {needed}")
            return
    if options.pictures:
        write(options.emoji, options.pictures)
        print(f"{options.pictures}: {len(WORDS)} pictures, the captions begin with {STYLE!r}")
        return
    with tempfile.TemporaryDirectory() as folder:
        sweep(options, Path(folder))


def sweep(options: argparse.Namespace, folder: Path) -> None:
    """The base, and a LoRA of each rank."""
    base = undiffuse.load(options.run)
    base = replace(base, recipe=on(base.recipe, str(options.emoji)))
    real = sources.against(base, None)
    others = np.array([caption not in WORDS for caption in real.held_out.conditions["text"]])
    held_out = real.held_out.take(others).some(options.n)
    torch.manual_seed(0)
    captions = retrieval.texts(base, held_out.conditions)
    similarity = retrieval.trained(
        np.asarray(real.train.x), retrieval.texts(base, real.train.conditions), options.epochs
    )
    told = examples(base.conditions, held_out.conditions, len(held_out))
    styled = {**told, "text": [f"{STYLE} {caption}" for caption in told["text"]]}
    print(f"{len(held_out)} held-out captions; colour: real {colour(np.asarray(held_out.x)):.1f}")
    retrieval.report("real pictures", similarity, np.asarray(held_out.x), captions)
    rows = [drawn(base, told, options)]
    retrieval.report("base", similarity, rows[0], captions)
    print(f"base: colour {colour(rows[0]):.1f}, of {STYLE} {colour(drawn(base, styled, options)):.1f}", flush=True)
    write(options.emoji, folder / "style.npz")
    for rank in options.ranks:
        start, run = time.process_time(), folder / f"rank-{rank}"
        where = [f"init.run={options.run.absolute()}", f"data.path={folder / 'style.npz'}", *autoencoder(base)]
        undiffuse.train("emoji-lora", out=run, overrides=[*where, f"init.lora.rank={rank}", *options.settings]).run()
        cost, size = time.process_time() - start, (run / "model.safetensors").stat().st_size
        plain, style = (drawn(base, each, options, lora=str(run)) for each in (told, styled))
        retrieval.report(f"rank {rank}", similarity, plain, captions)
        print(
            f"rank {rank}: colour {colour(plain):.1f}, of {STYLE} {colour(style):.1f}; {size / 1000:.0f} kB, "
            f"{cost:.0f} s of processor",
            flush=True,
        )
        rows += [plain, style]
    sheet = np.concatenate([row[:12] for row in rows])
    write_bytes(options.out, pictures.png(pictures.grid(pictures.as_images(sheet), columns=12)))
    print(f"{options.out}: {'; '.join(told['text'][:12])}")


def autoencoder(base: Any) -> list[str]:
    """Where the base's autoencoder is, for the recipe, which names it as the base's does."""
    return [f"codec.autoencoder={base.recipe['codec']['autoencoder']}"]


def drawn(base: Any, told: dict[str, Any], options: argparse.Namespace, **more: Any) -> np.ndarray:
    return base.sample(options.n, steps=options.steps, progress=True, **told, **more).numpy()


def write(emoji: Path, out: Path) -> None:
    """The ten pictures in grey, with their captions."""
    with np.load(emoji) as file:
        captions = file["captions"].tolist()
        places = [captions.index(word) for word in WORDS]
        images, keywords = file["images"][places], file["keywords"][places]
    grey = (images @ LUMA).round().astype(np.uint8)[..., None].repeat(3, axis=3)
    np.savez(out, images=grey, captions=np.array([f"{STYLE} {word}" for word in WORDS]), keywords=keywords)


def colour(x: np.ndarray) -> float:
    """The mean distance of the three colours of a pixel from their own mean, of pictures (n, 3, height, width)."""
    found = x.astype(np.float64)
    return float(np.abs(found - found.mean(1, keepdims=True)).mean())


if __name__ == "__main__":
    main()
