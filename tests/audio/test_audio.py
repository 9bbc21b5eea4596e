"""Sounds come from .wav files of any width as they stand there, have a pitch that is measured, and go back to .wav."""

import io
import json
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import resample

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.data.check import check
from undiffuse.data.dataset import Dataset
from undiffuse.data.recipe_for import recipe
from undiffuse.data.sources.audio import Audio, pieces, resampled
from undiffuse.data.toys.plucked_strings import A4, NOTES, PluckedStrings
from undiffuse.evaluation.features.spectrogram import SpectrogramFeatures, spectrograms
from undiffuse.evaluation.metrics.judge import collect, judge
from undiffuse.evaluation.metrics.pitch import Pitch
from undiffuse.evaluation.pitch import periods
from undiffuse.storage.sound_file import read, written

X = np.round(np.random.default_rng(0).uniform(-0.9, 0.9, (2, 50)) * 2**7) / 2**7  # which 8 bits hold


def riff(body: bytes, form: int, bits: int, channels: int = 2, rate: int = 8000, extra: bytes = b"") -> bytes:
    step = channels * bits // 8
    head = struct.pack("<HHIIHH", form, channels, rate, rate * step, step, bits) + extra
    chunks = (
        b"fmt "
        + struct.pack("<I", len(head))
        + head
        + b"LIST\x03\x00\x00\x00abc\x00data"
        + struct.pack("<I", len(body))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(body)) + b"WAVE" + chunks + body


def body(bits: int, form: int = 1) -> bytes:
    x = X.T
    if form == 3:
        return x.astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return (x * 128 + 128).astype(np.uint8).tobytes()
    whole = (x * 2.0 ** (bits - 1)).astype("<i8")
    return b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in whole.ravel())


@pytest.mark.parametrize(("form", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_a_sound_is_read_whatever_its_numbers_are(tmp_path: Path, form: int, bits: int):
    (tmp_path / "x.wav").write_bytes(riff(body(bits, form), form, bits))
    found = read(tmp_path / "x.wav")
    assert found.rate == 8000
    np.testing.assert_allclose(found.x, X, atol=1e-7)
    extensible = struct.pack("<HHIH", 22, bits, 3, form) + b"\x00" * 14
    (tmp_path / "y.wav").write_bytes(riff(body(bits, form), 0xFFFE, bits, extra=extensible))
    np.testing.assert_array_equal(read(tmp_path / "y.wav").x, found.x)


def test_what_is_written_is_read_by_anyone_and_clipped():
    x = np.array([[0.0, 0.5, -1.0, 2.0]], np.float32)
    with wave.open(io.BytesIO(written(x, 22050))) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (22050, 1, 2)
        numbers = np.frombuffer(sound.readframes(4), "<i2")
    assert numbers.tolist() == [0, 16384, -32767, 32767]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"ID3 an mp3", "no .wav file"),
        (riff(b"\x00" * 8, 2, 16), "compressed"),
        (riff(b"", 1, 16), "no sound"),
        (riff(b"\x00" * 80, 1, 40), "40 bits"),
        (b"RIFF\x04\x00\x00\x00WAVE", "damaged"),
        (riff(np.full(4, np.nan, "<f4").tobytes(), 3, 32), "NaN"),
        (riff(b"\x00" * 80, 1, 16)[:-6], "is cut off: of its sound there are 74 of 80 bytes"),
    ],
)
def test_what_is_no_sound_is_refused_by_its_name(tmp_path: Path, data: bytes, says: str):
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(Refused, match=f"x.wav.*{says}"):
        read(tmp_path / "x.wav")


def folder(root: Path, rates: tuple[int, int] = (8000, 8000)) -> Path:
    for i, (name, rate) in enumerate(zip(("dog", "bird"), rates, strict=True)):
        (root / name).mkdir(parents=True)
        for j in range(2):
            x = np.sin(np.arange(90 + 20 * j) * 0.3 * (i + 1), dtype=np.float32)[None] / 2
            (root / name / f"{j}.wav").write_bytes(written(x, rate))
    return root


def test_a_folder_of_sounds_has_classes_a_rate_and_pieces_of_one_length(tmp_path: Path):
    data = Audio(str(folder(tmp_path / "pets")), length=64).load()
    assert data.x.shape == (6, 1, 64)  # of 90 and 110 samples 1 and 2 pieces: 26 are less than half of one, 46 more
    assert data.classes == ("bird", "dog")
    assert data.notes["sound"] == {"rate": 8000}
    chosen = recipe(str(tmp_path / "pets"), ["data.length=64"])
    assert (chosen["data"]["name"], chosen["network"]["name"]) == ("audio", "unet")
    assert "label" in chosen["conditions"]
    assert "label" not in recipe(str(tmp_path / "pets" / "dog"))["conditions"]
    assert check(str(tmp_path / "pets"), ["length=64"]).facts["training"]["recipe"] == "audio"


def test_other_rates_and_channels_are_refused_or_brought_to_one(tmp_path: Path):
    root = folder(tmp_path / "pets", (8000, 4000))
    with pytest.raises(Refused, match=r"data\.rate=4000"):
        Audio(str(root), length=64).load()
    data = Audio(str(root), length=64, rate=4000).load()
    assert data.notes["sound"] == {"rate": 4000}
    (root / "dog" / "2.wav").write_bytes(written(np.zeros((2, 80), np.float32), 4000))
    with pytest.raises(Refused, match=r"2 channels, and 1 .*data\.channels=1"):
        Audio(str(root), length=64, rate=4000).load()
    (root / "dog" / "3.wav").write_bytes(b"nothing")
    assert len(Audio(str(root), length=64, rate=4000, channels=1, skip_broken=True).load()) == len(data) + 1
    (tmp_path / "none").mkdir()
    with pytest.raises(Refused, match=r"no \.wav files"):
        Audio(str(tmp_path / "none")).load()


def test_a_tone_is_the_same_tone_at_another_rate():
    t = np.arange(400)
    tone = np.sin(2 * np.pi * 0.05 * t)[None]
    np.testing.assert_allclose(resampled(tone, 8000, 4000)[0], np.sin(2 * np.pi * 0.1 * t[:200]), atol=1e-5)
    noise = np.random.default_rng(0).normal(size=(1, 100))
    for count in (50, 51, 100, 150, 200):
        np.testing.assert_allclose(resampled(noise, 100, count), resample(noise, count, axis=1), atol=1e-6)
    np.testing.assert_allclose(resampled(tone, 4000, 8000)[0, ::2], tone[0], atol=1e-5)
    assert pieces(np.ones((1, 5), np.float32), 8)[0, 0].tolist() == [1] * 5 + [0] * 3


def test_strings_have_the_pitch_of_their_notes():
    data = PluckedStrings(count=300).load()
    assert data.labels is not None
    wanted = 4000 / (A4 * 2.0 ** (np.array(list(NOTES.values()))[data.labels] / 12))
    found = periods(np.asarray(data.x)[:, 0])
    cents = 1200 * np.abs(np.log2(found / wanted))
    assert np.quantile(cents, 0.99) < 40
    assert np.isnan(periods(np.zeros((1, 100)))).all()
    assert float(np.abs(data.x).max()) < 1.3


def test_the_judge_of_pitch_reads_held_out_notes_and_finds_wrong_ones():
    parts = [PluckedStrings(count=120, seed=seed).load() for seed in range(3)]
    found = Pitch().judge(collect(*parts))["pitch"]
    assert found["value"] > 0.98
    assert found["floor"] > 0.98
    assert found["detail"]["cents"] < 20
    labels: Any = parts[0].labels
    wrong = Dataset(parts[0].x, {"label": (labels + 1) % 8}, parts[0].classes)
    assert Pitch().judge(collect(wrong, *parts[1:]))["pitch"]["value"] < 0.05
    assert not Pitch().applies(collect(*(Dataset(part.x) for part in parts)))


def test_spectrograms_hear_what_a_sound_is_and_not_its_phase():
    random = np.random.default_rng(0)
    t, phases = np.arange(1024), random.uniform(0, 2 * np.pi, (2, 300, 1))
    angles = (2 * np.pi * f * t + phase for f, phase in zip((0.05, 0.12), phases, strict=True))
    low, high = (np.sin(angle)[:, None].astype(np.float32) for angle in angles)
    same, other = (Dataset(x) for x in (low[150:], high[:150]))
    scores = [
        judge(x, same, Dataset(low[:150]), features="spectrogram", metrics=["frechet"])["frechet"]["value"]
        for x in (Dataset(low[:150]), other)
    ]
    assert scores[1] > 100 * scores[0]
    np.testing.assert_allclose(spectrograms(low[:2]), spectrograms(-low[:2]), atol=1e-4)
    assert SpectrogramFeatures().about["features"] == "spectrogram"
    with pytest.raises(Refused, match="features spectrogram see sounds"):
        spectrograms(np.zeros((2, 1, 8, 8), np.float32))


def test_a_run_draws_wav_files_at_the_rate_of_its_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    small = [
        "network.width=8",
        "network.multipliers=[1]",
        "network.attention=[]",
        "network.blocks=1",
        "sampler.steps=2",
    ]
    short = ["train.steps=2", "train.batch=8", "train.preview_every=0", "train.validate_every=0"]
    own = ["data.count=60", "data.length=64", "train.warmup=0", "train.precision=float32"]
    undiffuse.train("plucked-strings", out=tmp_path / "run", overrides=[*small, *short, *own]).run()

    def call(*words: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        return int(stop.value.code or 0)

    assert call("sample", tmp_path / "run", "-n", 3, "-o", tmp_path / "x.wav") == 0
    found = read(tmp_path / "x.wav")
    assert (found.rate, found.x.shape) == (4000, (1, 3 * 64 + 2 * 1000))
    assert call("sample", tmp_path / "run", "-n", 3, "--format", "wavs", "-o", tmp_path / "sounds") == 0
    assert sorted(path.name for path in (tmp_path / "sounds").iterdir()) == ["0000.wav", "0001.wav", "0002.wav"]
    about = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert about["data"]["sound"] == {"rate": 4000}
    capfd.readouterr()


def test_a_sound_whose_length_was_never_written_goes_to_the_end(tmp_path: Path):
    whole = riff(body(16), 1, 16)
    (tmp_path / "x.wav").write_bytes(whole.replace(struct.pack("<I", len(body(16))), b"\xff" * 4))
    np.testing.assert_allclose(read(tmp_path / "x.wav").x, X, atol=1e-7)


def test_pieces_of_a_file_are_on_one_side_of_what_is_held_out(tmp_path: Path):
    for i in range(8):
        x = np.random.default_rng(i).uniform(-0.5, 0.5, (1, 320)).astype(np.float32)
        (tmp_path / f"{i}.wav").write_bytes(written(x, 8000))
    whole = Audio(str(tmp_path), length=64).load()
    starts = [set(np.asarray(part.x)[:, 0, 0].tolist()) for part in whole.split(0.3)]
    for file in range(8):
        own = set(whole.x[5 * file : 5 * file + 5, 0, 0].tolist())
        assert own <= starts[0] or own <= starts[1]
    assert min(map(len, starts)) >= 10
    alone = Audio(str(tmp_path / "0.wav"), length=16).load()  # 20 pieces
    learned, held_out = alone.split(0.3)
    assert np.array_equal(held_out.x, alone.x[-6:])
    assert np.array_equal(learned.x, alone.x[:13])


def test_broken_sounds_are_left_out_where_that_is_asked_for(tmp_path: Path):
    (tmp_path / "good.wav").write_bytes(riff(body(16), 1, 16))
    (tmp_path / "short.wav").write_bytes(riff(body(16), 1, 16)[:-8])
    with pytest.raises(Refused, match=r"short.wav is cut off.*\n.*go on without such files: --skip-broken"):
        Audio(str(tmp_path), length=64).load()
    assert "cut off" in str(Audio(str(tmp_path), length=64, skip_broken=True).load().notes["broken"])
    (tmp_path / "a.mp3").write_bytes(b"ID3")
    with pytest.raises(Refused, match=r"a.mp3 is no .wav file: make one of it, as by ffmpeg -i a.mp3 a.wav\nMend it"):
        Audio(str(tmp_path), length=64).load()
    assert Audio(str(tmp_path), length=64, skip_broken=True).load().notes["broken"]["count"] == 2
    (tmp_path / "only").mkdir()
    (tmp_path / "a.mp3").rename(tmp_path / "only" / "a.mp3")
    with pytest.raises(Refused, match=r"^a.mp3 is no .wav file: make one of it"):
        Audio(str(tmp_path / "only")).peek()


def test_files_of_which_some_lie_in_subfolders_are_refused(tmp_path: Path):
    for file in ("loose.wav", "cat/one.wav"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(riff(body(16), 1, 16))
    with pytest.raises(Refused, match=r"loose \(loose\.wav\) and in subfolders \(cat/one\.wav\)"):
        Audio(str(tmp_path), length=64).load()
    assert not Audio(str(tmp_path), length=64, labels="none").load().classes
