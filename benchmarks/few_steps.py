"""Few-step models beside their teacher: distance, agreement with the class and time of each, at each number of steps.

    python benchmarks/few_steps.py runs/mnist-teacher runs/mnist-ect:1,2 ... [-n 10000] [--ddim 50]

RUN:STEPS,... is a run with the numbers of steps to draw in; a run alone is drawn as its recipe says. The first run is
the teacher, also drawn by DDIM in --ddim steps. Half of the items that it held out train a classifier, the other half
is the reference: distances are Frechet distances of the classifier's features, of as many samples as reference items at
most, and the floor is that of training items. `agreement` is how often the classifier reads the class that was asked
for. The classes come in turn, and every run draws with the same seed. The picture has a row for each row of the table.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import undiffuse
from undiffuse import pictures
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.storage.files import write_bytes

SHOWN = 20  # samples in a row of the picture


class Classifier(nn.Module):
    """Images (n, channels, height, width) -> (features (n, 64), logits (n, classes))."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((channels, 16, 1), (16, 32, 2), (32, 64, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, 64), nn.ReLU())
        self.tell = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.see(x)
        return features, self.tell(features)


@dataclass(frozen=True)
class Row:
    """What was measured of one run at one number of steps."""

    name: str
    steps: int
    calls: float
    distance: float
    agreement: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=["runs/mnist-teacher"], metavar="RUN[:STEPS,...]")
    parser.add_argument("-n", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--ddim", type=int, nargs="*", default=[], help="steps of DDIM for the teacher, too")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0], help="weights to try on the teacher")
    parser.add_argument("--out", type=Path, default=Path("few-steps.png"))
    options = parser.parse_args()
    asked = [split(each) for each in options.runs]
    if missing := next((path for path, _ in asked if not path.exists()), None):
        print(f"not there yet: {missing}; train it first, for example: undiffuse train mnist-teacher")
        return
    teacher = undiffuse.load(asked[0][0])
    real = sources.against(teacher, None)
    held_out = np.asarray(real.held_out.x)
    half, labels = len(held_out) // 2, np.asarray(real.held_out.labels)
    torch.manual_seed(0)
    judge = trained(held_out[:half], labels[:half], options.epochs)
    reference, told = seen(judge, held_out[half:])
    n = min(options.n, len(reference))
    floor = frechet(seen(judge, np.asarray(real.train.x[:n]))[0], reference)
    print(f"{n:,} samples, {len(reference):,} reference items; floor {floor:.3f}")
    print(f"the classifier reads {np.mean(told == labels[half:]):.1%} of the reference items")
    classes = [int(name) if name.isdecimal() else name for name in teacher.classes]
    wanted = np.arange(n) % len(classes)
    rows: list[Row] = []
    sheet: list[np.ndarray] = []
    for number, (path, counts) in enumerate(asked):
        model: Any = undiffuse.load(path)
        ddim = [(steps, {"sampler": "ddim"}) for steps in options.ddim] if number == 0 else []
        for steps, by in [*((steps, {}) for steps in counts), *ddim]:
            for weight in [None] if number or by else options.guidance:
                settings = by if weight is None else {"guidance": weight}
                drawn = model.sample(n, steps=steps, label=np.array(classes)[wanted], progress=True, **settings)
                features, read = seen(judge, drawn.numpy())
                name = path.name + (f", guidance {weight:g}" if weight not in (None, 1.0) else ", DDIM" * bool(by))
                distance = float(frechet(features, reference))
                row = Row(name, steps or 0, drawn.calls, distance, float(np.mean(read == wanted)), drawn.seconds)
                rows.append(row)
                sheet.append(drawn.numpy()[:SHOWN])
                print(f"{row.name}, {row.steps or 'usual'} steps: {row.distance:.3f}", flush=True)
    show(rows, teachers=sum(len(options.guidance) for _ in asked[0][1]))
    picture = pictures.grid(pictures.as_images(np.concatenate(sheet)), columns=SHOWN)
    write_bytes(options.out, pictures.png(picture))
    print(f"\n{options.out}: a row for each row of the table")


def split(word: str) -> tuple[Path, list[int | None]]:
    """`RUN:1,2` as the folder and the numbers of steps."""
    folder, _, counts = word.partition(":")
    return Path(folder), [int(each) for each in counts.split(",")] if counts else [None]


def show(rows: list[Row], teachers: int) -> None:
    """A table; distances are also over the teacher's best."""
    best = min(row.distance for row in rows[:teachers])
    print("\n| run | steps | network calls | distance | over the teacher's best | agreement | seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        cells = (f"{row.calls:g}", f"{row.distance:.3f}", f"{row.distance / best:.2f}", f"{row.agreement:.1%}")
        print(f"| {row.name} | {row.steps or 'usual'} | {' | '.join(cells)} | {row.seconds:.1f} |")


def scaled(x: np.ndarray) -> Tensor:
    """Bytes (n, channels, height, width), or without an axis of channels, as numbers in [-1, 1]."""
    images = torch.from_numpy(np.ascontiguousarray(x)).float() / 127.5 - 1
    return images if images.ndim == 4 else images[:, None]


def trained(x: np.ndarray, labels: np.ndarray, epochs: int, batch: int = 128) -> Classifier:
    """The classifier, fitted to images and their classes."""
    images, targets = scaled(x), torch.from_numpy(labels.astype(np.int64))
    found = Classifier(images.shape[1], int(targets.max()) + 1)
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(found.parameters(), lr=2e-3, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    places = iter(torch.cat([torch.randperm(len(x)) for _ in range(epochs + 1)]).split(batch))
    found.train()
    for _ in tqdm(range(steps), desc="classifier", unit="step", leave=False):
        which = next(places)
        loss = F.cross_entropy(found(images[which])[1], targets[which])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    return found.eval()


@torch.no_grad()
def seen(judge: Classifier, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 64) in float64 and the classes that the classifier reads (n,)."""
    parts = [judge(part) for part in scaled(x).split(500)]
    features, logits = (torch.cat(each) for each in zip(*parts, strict=True))
    return features.double().numpy(), logits.argmax(1).numpy()


if __name__ == "__main__":
    main()
