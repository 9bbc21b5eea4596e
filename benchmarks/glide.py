"""Pictures of captions by several models and weights, judged by a pair of encoders that taught none of them.

    undiffuse train emoji-clip --out runs/emoji-judge --set train.seed=1 train.held_out=0.3
    python benchmarks/glide.py runs/emoji-text --clip runs/emoji-clip --judge runs/emoji-judge
    python benchmarks/glide.py runs/emoji-text runs/emoji-from-text --judge runs/emoji-judge

For captions that neither the models nor the judge have seen, each model draws one picture of each. A row of the table:
how often a picture is nearer to its own caption than to nine others (the mean over all draws of the nine), the Frechet
distance to the real pictures in the judge's space and in the same units that of training pictures, how far two pictures
of one caption lie apart (1 minus their cosine, the mean), and seconds. With --clip also a row for each weight of CLIP
guidance: the model, told the caption without classifier-free guidance, and led by that pair of encoders
(arXiv:2112.10741, sec. 2.4).
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import undiffuse
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.evaluation.retrieval import both_ways

TEXT = "text"  # the condition that a caption is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, default=[Path("runs/emoji-text")])
    parser.add_argument("--judge", type=Path, default=Path("runs/emoji-judge"))
    parser.add_argument("--clip", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    if missing := [each for each in (*options.runs, options.judge, options.clip) if each and not each.exists()]:
        print(f"not there yet: {', '.join(map(str, missing))}; see --help for how to train them")
        return
    judge: Any = undiffuse.load(options.judge)
    real, learned = held_out(judge, options.runs[-1], options.n)
    captions = real.conditions[TEXT]
    texts, seen = judge.encode_text(captions.tolist()), judge.encode_image(np.asarray(real.x))
    floor = judge.encode_image(np.asarray(learned.some(len(real)).x))
    print(f"{len(real)} captions\n{'':34} {'own of 10':>9} {'distance':>9} {'apart':>7} {'seconds':>8}")
    report("real pictures", seen, texts, captions, seen, floor)
    report("other captions", seen.roll(1, 0), texts, captions, seen, seen)
    for name, model, asked in rows(options, captions):
        start = time.perf_counter()
        both = [judge.encode_image(model.sample(len(captions), seed=seed, **asked).numpy()) for seed in (0, 1)]
        seconds = (time.perf_counter() - start) / 2
        apart = float(1 - (both[0] * both[1]).sum(1).mean())
        report(name, both[0], texts, captions, seen, both[0], f"{apart:7.3f} {seconds:8.1f}")


def held_out(judge: Any, run: Path, n: int) -> tuple[Any, Any]:
    """Items that neither the judge nor the model of this run has learned from, and some that the judge has."""
    mine, theirs = sources.of_run(judge), sources.of_run(undiffuse.load(run))
    unseen = mine.held_out.take(np.isin(mine.held_out.survey().hashes, theirs.held_out.survey().hashes))
    return unseen.some(n), mine.train


def rows(options: argparse.Namespace, captions: np.ndarray) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Each row's name, model and request."""
    steps = {} if options.steps is None else {"steps": options.steps}
    words = captions.tolist()
    for path in options.runs:
        model: Any = undiffuse.load(path)
        for weight in options.weights:
            yield f"{path.name}, weight {weight:g}", model, {TEXT: words, "guidance": weight, **steps}
        if options.clip is None:
            continue
        pair: Any = undiffuse.load(options.clip)
        sampler = {name: value for name, value in model.recipe["sampler"].items() if name != "guidance"}
        plain = replace(model, recipe=model.recipe.with_tables(sampler=sampler))
        for weight in options.weights:
            led = {TEXT: words, "classifier": pair, "guidance": weight, **steps}
            yield f"{path.name}, CLIP, weight {weight:g}", plain, led


def report(
    name: str, vectors: Tensor, texts: Tensor, captions: np.ndarray, real: Tensor, compared: Tensor, more: str = ""
) -> None:
    """A row of the table: how vectors find their captions, and how far those compared are from the real ones."""
    own = both_ways(vectors, texts, captions)["item to text"][1, 10]
    distance = frechet(compared.double().numpy(), real.double().numpy())
    print(f"{name:34} {own:9.1%} {distance:9.4f} {more}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
