"""Every inverse method on held-out pictures, beside a model trained for the task and what needs no model.

    python benchmarks/inverse.py runs/mnist-superresolve [--items 64]
    python benchmarks/inverse.py runs/fashion-inpaint [--items 64]

The run is told its condition (`of = "superresolve:4"` or "hole:14") in a part of training, so that it is both: not
told, a prior for methods that know the measurement; told, the model trained for the task. One table: PSNR of one sample
and of the mean of four (dB; the mean is what squared error asks for, a sample is not), the Frechet distance of the
samples to the same pictures over that of other real ones, the root mean square by which a sample misses what was
measured (grey levels of 255), and seconds a picture. Known pixels are put back before all but the last two. dps takes
six times the steps, particles answer for a quarter of the pictures, once. Writes a sheet: the truth, what is known, a
row for each method.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import undiffuse
from undiffuse import pictures
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.editing.inverse_problems import METHODS, STD
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.guidance.inpaint import Inpaint
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.repaint import RePaint
from undiffuse.models.diffusion import Diffusion
from undiffuse.operators.mask import Mask
from undiffuse.operators.pool import Pool
from undiffuse.sampling.plan import plan
from undiffuse.sampling.request import SampleRequest
from undiffuse.storage.files import write_bytes

Draw = Callable[[int], Tensor]  # seed -> encoded answers
Change = Callable[[Sampler], tuple[Denoiser, Sampler]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/mnist-superresolve"))
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, default=Path("inverse.png"))
    options = parser.parse_args()
    if not options.run.exists():
        print(f"not there yet: {options.run}; train it first, for example: undiffuse train mnist-superresolve")
        return
    model = undiffuse.load(options.run, precision="float32")
    ((name, condition),) = model.conditions.items()
    real = sources.against(model, None)
    items, others = (real.held_out.some(2 * options.items).take(part) for part in halves(options.items))
    truth = model.codec.encode(np.asarray(items.x))
    told, of = items.conditions[name], str(condition.written()["of"])
    trained: dict[str, Any] = {name: told, "steps": options.steps, "guidance": 1.0}
    known = KNOWN[of.partition(":")[0]](truth, told, of)
    floor = frechet(flat(truth), flat(model.codec.encode(np.asarray(others.x))))
    rows = [truth, seen(known.y, truth)]
    ways = {
        **PLAIN[of.partition(":")[0]](np.asarray(items.x), told, model),
        **drawers(model, known, options.steps),
    }
    ways["trained for it"] = lambda seed: model.codec.encode(model.sample(len(truth), seed=seed, **trained))
    print(f"{len(truth)} held-out pictures, {options.steps} steps; Frechet floor {floor:.3g}")
    print(f"{'method':15} {'PSNR':>6} {'of mean':>8} {'Frechet/floor':>14} {'misses':>7} {'s/picture':>10}")
    for way, draw in ways.items():
        if options.methods and way not in options.methods:
            continue
        start = time.perf_counter()
        raw = [draw(seed).clamp(-1, 1) for seed in range(1 if way in (*PLAINS, SLOW) else options.draws)]
        count = len(raw[0])  # the slow one answers for fewer
        seconds = (time.perf_counter() - start) / len(raw) / count
        miss = float(known.residual(padded(raw[0], truth))[:count].square().mean().sqrt()) * 127.5
        answers = [completed(known, answer) for answer in raw]
        far = f"{frechet(flat(answers[0]), flat(truth)) / floor:14.2f}" if count == len(truth) else f"{'':>14}"
        mean = f"{psnr(torch.stack(answers).mean(0), truth):8.2f}" if len(answers) > 1 else f"{'':>8}"
        print(f"{way:15} {psnr(answers[0], truth):6.2f} {mean} {far} {miss:7.2f} {seconds:10.3f}", flush=True)
        rows.append(padded(answers[0], torch.full_like(truth, -1.0)))
    sheet = model.codec.decode(torch.cat([row[:10] for row in rows])).numpy()
    write_bytes(options.out, pictures.png(pictures.grid(pictures.as_images(sheet), columns=10)))
    print(f"{options.out}: the truth, what is known, and a row for each line of the table")


def halves(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which items are asked about, and which measure the floor."""
    return np.arange(count), np.arange(count, 2 * count)


def drawers(model: Diffusion, known: Measurement, steps: int) -> dict[str, Draw]:
    """Each method by name: answers for all pictures at once, from the model that is told nothing."""
    shape = tuple(model.shape)

    def by(change: Change, particles: int = 1, steps: int = steps, count: int = len(known.y)) -> Draw:
        chosen, times = plan(model.recipe, model.denoiser, SampleRequest(steps=steps))

        def draw(seed: int) -> Tensor:
            denoiser, sampler = change(chosen)
            size = (count * particles, *shape)
            return sample(denoiser, size, sampler=sampler, times=times, seed=seed)[::particles]

        return draw

    found: dict[str, Draw] = {}
    if hasattr(known.operator, "mask"):
        mask: Tensor = known.operator.mask  # pyright: ignore[reportFunctionMemberAccess]
        found["replace"] = by(lambda sampler: (model.denoiser, Inpaint(sampler, known.y, mask)))
        found["repaint"] = by(lambda sampler: (model.denoiser, RePaint(sampler, known.y, mask, jump=1)))
    for name, method in METHODS.items():
        count = len(known.y) if method.particles == 1 else max(1, len(known.y) // 4)
        some = repeated(known, count, method.particles)
        change = partial(method.change, model.denoiser)
        found[name] = by(
            lambda sampler, change=change, some=some: change(sampler, some),
            method.particles,
            LONG * steps if name == "dps" else steps,
            count,
        )
    return found


def repeated(known: Measurement, count: int, times: int) -> Measurement:
    """The measurement of the first pictures, each so many times."""
    y, operator = known.y[:count].repeat_interleave(times, 0), known.operator
    if hasattr(operator, "mask"):
        operator = Mask(operator.mask[:count].repeat_interleave(times, 0))  # pyright: ignore[reportFunctionMemberAccess]
    return Measurement(operator, y, known.std)


def completed(known: Measurement, x: Tensor) -> Tensor:
    """x with the pixels that are known."""
    if not hasattr(known.operator, "mask"):
        return x
    mask: Tensor = known.operator.mask[: len(x)]  # pyright: ignore[reportFunctionMemberAccess]
    return torch.where(mask > 0, known.y[: len(x)], x)


def padded(x: Tensor, like: Tensor) -> Tensor:
    """x, and as many of `like` as are missing behind it."""
    return torch.cat([x, like[len(x) :]])


def small(truth: Tensor, told: np.ndarray, of: str) -> Measurement:
    """What is known of a picture made smaller."""
    return Measurement(Pool(int(of.partition(":")[2])), torch.from_numpy(told).float() / 127.5 - 1, STD)


def hole(truth: Tensor, told: np.ndarray, of: str) -> Measurement:
    """What is known of a picture with a hole."""
    mask = torch.from_numpy(told[:, -1:] > 127).float()
    return Measurement(Mask(mask), truth * mask, STD)


def larger(x: np.ndarray, told: np.ndarray, model: Diffusion) -> dict[str, Draw]:
    """The small picture made larger again."""
    ways = {"nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC}
    size = x.shape[-1], x.shape[-2]

    def resized(by: Image.Resampling) -> Tensor:
        return model.codec.encode(
            np.stack([np.asarray(Image.fromarray(low[0]).resize(size, by))[None] for low in told])
        )

    return {name: lambda seed, by=by: resized(by) for name, by in ways.items()}


def filled(x: np.ndarray, told: np.ndarray, model: Diffusion) -> dict[str, Draw]:
    """The hole filled by the nearest known pixel, and by the harmonic function of its edge."""
    from scipy.ndimage import distance_transform_edt

    known = told[:, -1] > 127

    def nearest() -> Tensor:
        found = np.array(x)
        for picture, mask in zip(found, known, strict=True):
            where: Any = distance_transform_edt(~mask, return_distances=False, return_indices=True)
            picture[:] = picture[:, where[0], where[1]]
        return model.codec.encode(found)

    def harmonic() -> Tensor:
        z, mask = nearest(), torch.from_numpy(known[:, None])
        for _ in range(500):
            around = torch.nn.functional.pad(z, (1, 1, 1, 1), mode="replicate")
            mean = (around[..., :-2, 1:-1] + around[..., 2:, 1:-1] + around[..., 1:-1, :-2] + around[..., 1:-1, 2:]) / 4
            z = torch.where(mask, z, mean)
        return z

    return {"nearest": lambda seed: nearest(), "harmonic": lambda seed: harmonic()}


def seen(y: Tensor, like: Tensor) -> Tensor:
    """What is known, at the pictures' size."""
    return torch.nn.functional.interpolate(y, like.shape[2:], mode="nearest")


def flat(x: Tensor) -> np.ndarray:
    return x.flatten(1).double().numpy()


def psnr(x: Tensor, truth: Tensor) -> float:
    """Of all pictures together, in dB of the range of 2."""
    return float(-10 * torch.log10((x - truth[: len(x)]).square().mean() / 4))


KNOWN = {"superresolve": small, "hole": hole}
PLAIN = {"superresolve": larger, "hole": filled}
PLAINS = ("nearest", "bicubic", "harmonic")
SLOW = "particles"
LONG = 6  # times as many steps for dps, whose own default is 1,000

if __name__ == "__main__":
    main()
