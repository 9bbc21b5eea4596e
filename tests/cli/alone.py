"""A process of its own, in which a request for samples has one more field and nothing is imported that takes long."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from once import once
from small_runs import SMALL, trained

MORE = """
import contextlib, io, sys
from dataclasses import dataclass
from undiffuse.core.errors import Refused
from undiffuse.sampling import request
from undiffuse.sampling.option import option

@dataclass(frozen=True)
class MoreRequest(request.SampleRequest):
    loudness: int = option(1, "How loud.", int)

request.SampleRequest = MoreRequest
digits, other, image, mask = sys.argv[1:]
"""
LIGHT = """
import undiffuse
assert "torch" not in sys.modules
from undiffuse.cli.main import main
from undiffuse.core import registry
undiffuse.load(digits)
assert "torch" in sys.modules
said = io.StringIO()

def command(*words):
    try:
        with contextlib.redirect_stdout(said):
            main(words)
    except SystemExit as stop:
        assert not stop.code, words

def without(names):
    assert not (found := set(names.split()) & set(sys.modules)), sorted(found)

command("show", digits)
for kind in registry.names("models"):
    registry.get("models", kind)
without("PIL numpy.random undiffuse.pictures undiffuse.evaluation.sources undiffuse.reports.page")
for words in (["show", "digits"], ["list"], *(["list", kind] for kind in registry.KINDS)):
    command(*words)
assert "parameters" in said.getvalue()
from undiffuse.storage.blueprint import blueprint
told = {"channels": 3, "classes": 4, "levels": 10, "near": 3, "text_width": 16, "noise_levels": 10}
for name in registry.names("networks"):
    network, built = registry.get("networks", name), 0
    for shape in ((16,), (3, 16), (3, 16, 16)):
        given = {**told, "shape": shape, "vocabulary": 5, "vocabularies": (3, 2), "fourier": 1.0}
        given["dimensions"] = max(1, len(shape) - 1)
        with contextlib.suppress(Refused, ValueError):  # it takes other shapes
            chosen = {k: given[k] for k in registry.fields(network) if k in given}
            built += bool(blueprint(lambda: network(**chosen), name))
    assert built, name
without("torch._dynamo sympy matplotlib sklearn scipy accelerate polars pandas datasets")
print("light")
"""
ASK = """
from undiffuse.models.load import load
from undiffuse.sampling.session import Session

def refuse(model, asked, progress=False):
    raise Refused(f"loudness {asked.loudness}")

Session.open = refuse
for words in (
    ["sample", digits], ["edit", digits, "--image", image, "--mask", mask], ["evaluate", digits, "-o", "judged"],
    ["compare", digits, other],
):
    try:
        main([*words, "--loudness", "7"])
    except SystemExit as stop:
        assert stop.code == 2, words
try:
    load(digits).sample(1, loudness=7)
except Refused as error:
    print(error, file=sys.stderr)
print("loudness", MoreRequest.from_json({"loudness": 7}).loudness, file=sys.stderr)
print(MoreRequest.json_schema()["properties"]["loudness"]["description"])
print(MoreRequest(loudness=7).to_json())
"""


@dataclass(frozen=True)
class Alone:
    """What the process printed."""

    out: str
    err: str


def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """One process for both, since each takes seconds to import PyTorch; on data in a file: it need not import what
    brings digits.
    """

    def start(folder: Path) -> None:
        file = Path(__file__).parents[1] / "training" / "digits.npz"
        own = ["data.name=file", f"data.path={file}", "train.steps=1", "train.validate_every=0", "train.snapshots=0"]
        run = trained(tmp_path_factory, "digits", *SMALL, "train.held_out=0.2", *own)
        shutil.copytree(run, folder / "other")
        np.save(folder / "image.npy", np.zeros((1, 8, 8), np.uint8))
        np.save(folder / "mask.npy", np.eye(8)[None])
        paths = [run, *(folder / name for name in ("other", "image.npy", "mask.npy"))]
        words = [sys.executable, "-W", "error", "-c", MORE + LIGHT + ASK, *map(str, paths)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        (folder / "out.txt").write_text(done.stdout, encoding="utf-8")
        (folder / "err.txt").write_text(done.stderr, encoding="utf-8")

    folder = once(tmp_path_factory, "alone", start)
    return Alone(*((folder / name).read_text(encoding="utf-8") for name in ("out.txt", "err.txt")))
