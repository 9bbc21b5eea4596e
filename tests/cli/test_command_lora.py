"""A LoRA on the command line: trained beside its base, added to it with a weight, written as files and merged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Undiffuse = Callable[..., Any]
FEW = ("train.steps=2", "train.batch=4", "train.preview_every=0", "train.validate_every=0", "train.snapshots=0")


def test_a_lora_is_trained_on_a_run_and_added_to_it(undiffuse_: Undiffuse, digits: Path):
    start = (f"init.run={digits}", "init.lora.rank=4", "train.lr=0.1", "train.warmup=0")
    done = undiffuse_("train", digits, "--out", "style", "--set", *start, *FEW)
    assert done.status == 0
    assert "LoRA of rank 4 of 2 layers: " in done.err
    assert "numbers are trained, beside" in done.err
    drawn = undiffuse_("sample", digits, "--lora", "style:0.5", "--lora", "style:0.5", "-n", 2, "-o", "a.npz")
    assert "LoRA style with weight 1" in drawn.err
    assert undiffuse_("sample", "style", "-n", 2, "-o", "b.npz").status == 0
    with np.load("a.npz") as one, np.load("b.npz") as other:
        assert np.array_equal(one["images"], other["images"])
    assert "with a LoRA of rank 4" in " ".join(undiffuse_("show", "style").out.split())
    assert undiffuse_("export", "style", "--format", "merged", "-o", "whole").err.startswith(
        "whole: a model of samples"
    )
    files = undiffuse_("export", "style", "--format", "lora", "-o", "files")
    assert files.err.startswith("files: adapter_config.json, adapter_model.safetensors")
    assert undiffuse_("sample", "whole", "-n", 1, "-o", "c.png").status == 0
    assert undiffuse_("sample", digits, "--lora", "files", "-n", 1, "-o", "c.png").status == 0
    assert (
        "error: there is no LoRA at nowhere" in undiffuse_("sample", digits, "--lora", "nowhere:2", "-o", "c.png").err
    )
    judged = undiffuse_("evaluate", digits, "--lora", "style", "-n", 20, "--metrics", "frechet", "-o", "judged")
    assert judged.status == 0
