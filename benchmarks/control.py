"""How often texts are as they were asked for, with and without control, and what that costs in fluency.

    python benchmarks/control.py [--run runs/text-diffusion-lm] [--texts 24] [--keywords war,peace,congress]
        [--lengths 8,12,20] [--weights 0.01] [--steps 100]

`--run` is a trained run of the recipe text-diffusion-lm. Without control texts are drawn once, and each keyword and
length is looked for in them; with control as many texts for each. success: share of the texts that have the word, or
exactly so many words; the error is the standard error of that share. words: share of the words that are not `<unk>`;
pairs: share of neighbours among these that stand side by side in the training part as well, beside the same of held-out
text, and of its words in another order.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

import undiffuse
from undiffuse.codecs.text import UNKNOWN
from undiffuse.evaluation import sources
from undiffuse.sampling.controls import met, understood


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/text-diffusion-lm"))
    parser.add_argument("--texts", type=int, default=24)
    parser.add_argument("--keywords", default="war,peace,congress")
    parser.add_argument("--lengths", default="8,12,20")
    parser.add_argument("--weights", default="0.01")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    if not options.run.exists():
        print(f"not there yet: {options.run}; train it: undiffuse train text-diffusion-lm --set data.path=FILE.txt")
        return
    model: Any = undiffuse.load(options.run)
    real = sources.of_run(model)
    judge = Fluency(model, np.asarray(real.train.x))
    wanted = {
        "keyword": [f"keyword:{word}" for word in options.keywords.split(",")],
        "length": [f"length:{count}" for count in options.lengths.split(",")],
    }
    held_out = np.asarray(real.held_out.x)[:2000]
    print(f"{options.texts} texts for each control, {options.steps} steps\n")
    print(f"{'':10}{'control':>9}{'weight':>8}{'success %':>16}{'words %':>9}{'pairs %':>9}")
    print(f"{'held-out text':43}{judge(held_out)}")
    print(f"{'its words in another order':43}{judge(judge.shuffled(held_out))}")
    free = model.sample(options.texts, steps=options.steps, progress=True)
    for kind, controls in wanted.items():
        found = torch.cat([holds(model, each, free) for each in controls])
        print(row(kind, "none", "", found, judge(free.numpy())))
        for weight in map(float, options.weights.split(",")):
            drawn, held = [], []
            for each in controls:
                how: dict[str, Any] = {"control": each, "control_weight": weight, "steps": options.steps}
                drawn.append(model.sample(options.texts, progress=True, **how))
                held.append(holds(model, each, drawn[-1]))
            print(row(kind, "yes", f"{weight:g}", torch.cat(held), judge(torch.cat(drawn).numpy())))
    for each in (wanted["keyword"][0], wanted["length"][0]):
        print(f"\n{each}")
        for text in model.sample(3, control=each, steps=options.steps):
            print("   ", model.codec.text_of(text.numpy()))


def holds(model: Any, control: str, x: torch.Tensor) -> torch.Tensor:
    """Which of the texts are as the control says."""
    return met(understood(model, control), x, model.codec.vocabulary)


class Fluency:
    """Known words, and pairs of words that the training part has."""

    def __init__(self, model: Any, train: np.ndarray) -> None:
        codec = model.codec
        self.size, self.pad = codec.vocabulary, codec.pad
        self.unknown = codec.symbols.index(UNKNOWN) if UNKNOWN in codec.symbols else -1
        self.known = np.unique(self._pairs(train))

    def __call__(self, x: np.ndarray) -> str:
        words = x[x != self.pad]
        pairs = self._pairs(x)
        seen = np.isin(pairs, self.known).mean() if len(pairs) else math.nan
        return f"{100 * (words != self.unknown).mean():>8.1f} {100 * seen:>8.1f}"

    def shuffled(self, x: np.ndarray) -> np.ndarray:
        """The same words in places that have nothing to do with each other."""
        there, mixed = x != self.pad, x.copy()
        mixed[there] = np.random.default_rng(0).permutation(x[there])
        return mixed

    def _pairs(self, x: np.ndarray) -> np.ndarray:
        first, second = x[:, :-1].astype(np.int64), x[:, 1:].astype(np.int64)
        none = np.isin(first, [self.pad, self.unknown]) | np.isin(second, [self.pad, self.unknown])
        return (first * self.size + second)[~none]


def row(kind: str, control: str, weight: str, found: torch.Tensor, fluency: str) -> str:
    share = float(found.double().mean())
    error = math.sqrt(share * (1 - share) / len(found))
    return f"{kind:10}{control:>9}{weight:>8}{f'{100 * share:.1f} +- {100 * error:.1f}':>16}{fluency}"


if __name__ == "__main__":
    main()
