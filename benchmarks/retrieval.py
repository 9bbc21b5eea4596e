"""Do pictures show what their captions say? The right caption among ten, found by a similarity of pictures and texts.

    python benchmarks/retrieval.py runs/emoji-text [-n 300]

A small convolutional network and a linear map of the captions' embeddings are trained, on the run's training part
alone, to give a picture and its own caption the largest inner product (arXiv:2103.00020). Then, for captions that
neither this similarity nor the run has seen: how often is a sample nearer to its own caption than to nine others? The
same for the real held-out pictures, which bounds what can be read, and for pictures of other captions, which is chance.
Writes a sheet: samples of held-out captions at each weight, and the real pictures.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import undiffuse
from undiffuse import pictures
from undiffuse.conditions.from_data import examples, tensors
from undiffuse.evaluation import sources
from undiffuse.storage.files import write_bytes

WIDTH = 96  # of the space in which pictures and texts meet
AMONG = 10


class Similarity(nn.Module):
    """Pictures (n, channels, height, width) and texts (n, d) as points on a sphere."""

    def __init__(self, channels: int, texts: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((channels, 32), (32, 64), (64, 128), (128, 192)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(768, WIDTH))
        self.read = nn.Sequential(nn.Dropout(0.2), nn.Linear(texts, WIDTH))
        self.scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, x: Tensor, texts: Tensor) -> Tensor:
        """(pictures, texts): log-odds that they belong together."""
        return self.scale.exp() * F.normalize(self.see(x), dim=1) @ F.normalize(self.read(texts), dim=1).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/emoji-text"))
    parser.add_argument("-n", type=int, default=300)
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("captions.png"))
    options = parser.parse_args()
    if not options.run.exists():
        print(f"not there yet: {options.run}; train it first, for example: undiffuse train emoji-text")
        return
    model = undiffuse.load(options.run)
    real = sources.against(model, None)
    held_out = real.held_out.some(options.n)
    torch.manual_seed(0)
    embedded = {part: texts(model, data.conditions) for part, data in (("train", real.train), ("held out", held_out))}
    similarity = trained(np.asarray(real.train.x), embedded["train"], options.epochs)
    print(f"right caption among {AMONG}, {len(held_out)} held-out captions")
    report("real pictures", similarity, np.asarray(held_out.x), embedded["held out"])
    told = examples(model.conditions, held_out.conditions, len(held_out))
    shown: list[np.ndarray] = []
    for weight in options.weights:
        x = model.sample(len(held_out), guidance=weight, progress=True, **told).numpy()
        report(f"guidance {weight:g}", similarity, x, embedded["held out"])
        shown.append(x[:12])
    report("other captions", similarity, np.roll(np.asarray(held_out.x), 1, axis=0), embedded["held out"])
    sheet = np.concatenate([*shown, np.asarray(held_out.x)[:12]])
    write_bytes(options.out, pictures.png(pictures.grid(pictures.as_images(sheet), columns=12)))
    for name in told:
        print(f"{name}: {'; '.join(map(str, told[name][:12]))}")
    print(f"{options.out}: a row for each weight, and the real pictures")


def texts(model: undiffuse.Diffusion, conditions: dict[str, np.ndarray]) -> Tensor:
    """(n, d): the mean embedding of each caption, of all text conditions side by side."""
    found: list[Tensor] = []
    for values in tensors(model.conditions, conditions).values():
        tokens = values[torch.arange(len(values))]
        there = (tokens != 0).any(2, keepdim=True)
        found.append((tokens * there).sum(1) / there.sum(1).clamp(min=1))
    return torch.cat(found, dim=1)


def scaled(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).float() / 127.5 - 1


def trained(x: np.ndarray, captions: Tensor, epochs: int, batch: int = 128) -> Similarity:
    """The similarity, fitted to pictures and their captions."""
    found = Similarity(x.shape[1], captions.shape[1])
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(found.parameters(), lr=2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    places = iter(torch.cat([torch.randperm(len(x)) for _ in range(epochs + 1)]).split(batch))
    found.train()
    for _ in tqdm(range(steps), desc="similarity", unit="step", leave=False):
        which = next(places)
        pictures_ = scaled(x[which.numpy()])
        moved = F.pad(pictures_, (2, 2, 2, 2), mode="replicate")
        top, left = (int(torch.randint(5, ())) for _ in range(2))
        odds = found(moved[..., top : top + x.shape[2], left : left + x.shape[3]], captions[which])
        own = torch.arange(len(which))
        loss = (F.cross_entropy(odds, own, label_smoothing=0.1) + F.cross_entropy(odds.T, own, label_smoothing=0.1)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    return found.eval()


@torch.no_grad()
def report(what: str, similarity: Similarity, x: np.ndarray, captions: Tensor) -> None:
    """How often a picture's own caption is the nearest of ten, the other nine drawn anew for each of 20 rounds."""
    odds = similarity(scaled(x), captions)
    random = torch.Generator().manual_seed(0)
    rounds: list[Tensor] = []
    for _ in range(20):
        others = torch.stack([torch.randperm(len(x) - 1, generator=random)[: AMONG - 1] for _ in range(len(x))])
        others += others >= torch.arange(len(x))[:, None]
        rounds.append((odds.gather(1, others) < odds.diagonal()[:, None]).all(1).float())
    right = torch.stack(rounds).mean(0)
    print(f"{what:15} {right.mean():.1%} +- {right.std() / len(right) ** 0.5:.1%}", flush=True)


if __name__ == "__main__":
    main()
