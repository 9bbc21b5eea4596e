"""Captions are read by a frozen encoder once, and by another one anew."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.conditions import text_encoder
from undiffuse.conditions.prompt import PromptCondition
from undiffuse.conditions.text import TextCondition
from undiffuse.conditions.text_encoder import state
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.data import read_captions
from undiffuse.data.read_captions import read


class Lengths(TextEncoder):
    """Embeds a text as its length, and counts the texts that it was asked for."""

    embedded_shape: Any = (1, 1)
    digest: Any = "lengths"
    asked = 0

    def embed(self, texts: Any) -> Tensor:
        self.asked += len(texts)
        return torch.tensor([[[len(text)]] for text in texts]).float()


def test_each_caption_is_read_once_by_an_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    monkeypatch.setattr(read_captions, "FEW", 2)
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path))
    encoder = Lengths()
    conditions = {"text": PromptCondition(encoder=encoder), "short": TextCondition(length=2)}
    captions = np.array(["a", "four", "a", "bb"])
    data = {"text": captions, "short": captions}
    for _ in range(2):
        found = read(conditions, data)
        assert found["text"][torch.arange(4)].flatten().tolist() == [1, 4, 1, 2]
        assert found["short"].shape == (4, 2)
        assert encoder.asked == 3
    read(conditions, {**data, "text": captions[:2]})  # other captions
    assert encoder.asked == 5
    encoder.digest = "others"
    read(conditions, data)
    assert encoder.asked == 8
    read({"text": conditions["text"]}, {"text": captions[:1]})  # one is read anew each time
    assert encoder.asked == 9
    assert not conditions["short"].reader


def test_an_encoder_in_a_folder_is_told_by_its_files(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.json").write_text("{}")
    before = TextCondition(encoder=str(tmp_path)).reader
    assert (
        before == TextCondition(encoder=str(tmp_path)).reader != TextCondition(encoder=str(tmp_path), length=3).reader
    )
    (tmp_path / "config.json").write_text("{ }")
    assert TextCondition(encoder=str(tmp_path)).reader != before
    monkeypatch.setattr(text_encoder, "_minilm", lambda: str(tmp_path))
    assert state("minilm").startswith("minilm [('config.json', 3")
