"""Point clouds come from files as they stand there, in no order, and are judged by Chamfer distances beside floors."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.conditions.declared import declared
from undiffuse.conditions.point_count import PointCountCondition, own_points
from undiffuse.core.errors import Refused
from undiffuse.data.cloud_file import read
from undiffuse.data.dataset import Dataset
from undiffuse.data.recipe_for import recipe
from undiffuse.data.resolve import table
from undiffuse.data.sources.point_clouds import PointClouds
from undiffuse.data.toys.surfaces import SHAPES, Surfaces
from undiffuse.evaluation.judge import Judge
from undiffuse.evaluation.metrics.cloud_neighbours import chamfer, neighbours
from undiffuse.evaluation.sources import Real
from undiffuse.networks.dit import DiT
from undiffuse.pictures.views import SIDE, views

POINTS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def ply(order: str) -> bytes:
    head = f"ply\nformat {order} 1.0\ncomment made up\nelement vertex 7\nproperty uchar red\nproperty float x\n"
    head += "property float y\nproperty double z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    if order == "ascii":
        lines = [f"9 {x:.9g} {y:.9g} {z:.9g}" for x, y, z in POINTS]
        return (head + "\n".join(lines) + "\n3 0 1 2\n").encode()
    mark = "<" if "little" in order else ">"
    rows = b"".join(struct.pack(f"{mark}Bffd", 9, *(float(v) for v in row)) for row in POINTS)
    return head.encode() + rows + b"\x03" + b"\x00" * 12


@pytest.mark.parametrize("order", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_the_vertices_of_a_ply_are_read(tmp_path: Path, order: str):
    (tmp_path / "x.ply").write_bytes(ply(order))
    np.testing.assert_allclose(read(tmp_path / "x.ply"), POINTS, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"), [("x.xyz", "{0} {1} {2}"), ("x.csv", "{0},{1},{2},255"), ("x.txt", "{0};{1};{2}")]
)
def test_lines_of_coordinates_are_read(tmp_path: Path, name: str, text: str):
    lines = [text.format(*(f"{v:.9g}" for v in row)) for row in POINTS]
    (tmp_path / name).write_text(
        "\n".join((["x,y,z"] if name.endswith("csv") else ["# made up"]) + lines), encoding="utf-8"
    )
    np.testing.assert_allclose(read(tmp_path / name), POINTS, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.ply", b"solid", "no .ply"),
        ("x.ply", ply("binary_little_endian")[:230], "cannot be read"),
        ("x.xyz", b"1 2\n3 4\n", "shape"),
        ("x.csv", b"1,2,3\n1,2,nan\n", "NaN"),
        ("x.csv", b"1,2,3\n1,a,3\n", "cannot be read"),
        ("x.npy", b"nothing", "cannot be read"),
    ],
)
def test_what_is_no_cloud_is_refused_by_its_name(tmp_path: Path, name: str, data: bytes, says: str):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Refused, match=f"{name}.*{says}"):
        read(tmp_path / name)


def test_a_folder_has_classes_and_every_cloud_so_many_of_its_own_points(tmp_path: Path):
    for i, count in enumerate((5, 20, 8, 30)):
        place = tmp_path / "solids" / ("box", "ball")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{i}.npy", np.arange(3 * count).reshape(count, 3) + 100.0 * i)
    data = PointClouds(str(tmp_path / "solids"), points=12).load()
    assert data.x.shape == (4, 3, 12)
    assert data.classes == ("ball", "box")
    assert data.notes["cloud"] == {"fewest": 5, "most": 30}
    for cloud in data.x:
        assert set(np.diff(cloud, axis=0).ravel().tolist()) == {1.0}  # x, y and z are those of one point
    assert sorted(len(np.unique(cloud[0])) for cloud in data.x) == [5, 8, 12, 12]
    unit = np.asarray(PointClouds(str(tmp_path / "solids"), points=40, normalise=True).load().x)
    assert np.linalg.norm(unit, axis=1).max(1) == pytest.approx(1, abs=1e-5)
    assert table(str(tmp_path / "solids"))["name"] == "point_clouds"
    assert recipe(str(tmp_path / "solids"))["network"]["positions"] == "none"


def test_an_array_has_rows_of_nan_where_a_cloud_is_smaller(tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(3, 9, 3)).astype(np.float32)
    x[1, 4:] = np.nan
    np.save(tmp_path / "clouds.npy", x)
    data = PointClouds(str(tmp_path / "clouds.npy"), points=9).load()
    assert len(np.unique(data.x[1, 0])) == 4
    assert set(data.x[0, 0]) == set(x[0, :, 0])
    x[2] = np.nan
    np.save(tmp_path / "clouds.npy", x)
    with pytest.raises(Refused, match="cloud 2 has no points"):
        PointClouds(str(tmp_path / "clouds.npy")).load()


def test_points_lie_on_the_surfaces_that_they_are_of():
    data = Surfaces(count=80, points=400).load()
    for shape, cloud in zip(np.array(SHAPES)[data.labels], np.asarray(data.x, float), strict=True):
        out, high = np.hypot(cloud[0], cloud[1]), np.abs(cloud[2])
        far = np.linalg.norm(cloud, axis=0)
        if shape == "sphere":
            assert np.ptp(far) < 1e-5
        if shape == "torus":
            size = out.max() / 1.1
            assert np.abs(np.hypot(out - 0.8 * size, high) - 0.3 * size).max() < 0.02
        if shape == "cylinder":
            size = high.max()
            assert np.minimum(np.abs(out - 0.6 * size), size - high).max() < 0.02
            assert 0.15 < (size - high < 1e-3).mean() < 0.32
        if shape == "cube":
            assert far.max() / far.min() < 3**0.5 + 1e-3


def test_a_transformer_without_positions_knows_no_order():
    net = DiT(3, shape=(3, 10), dimensions=1, classes=2, width=16, depth=2, heads=2, patch=1, positions="none")
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(0))
    x, order = torch.randn(2, 3, 10, dtype=torch.float32), torch.randperm(10)
    out = net(x, torch.tensor([3.0, 500.0]), torch.tensor([0, 1]))
    assert out.abs().max() > 1e-3
    torch.testing.assert_close(net(x[:, :, order], torch.tensor([3.0, 500.0]), torch.tensor([0, 1])), out[:, :, order])
    ordered = DiT(3, shape=(3, 10), dimensions=1, width=16, depth=2, heads=2, patch=1)
    for weight in ordered.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(0))
    moved = ordered(x[:, :, order], torch.tensor([3.0, 500.0]))
    assert (moved - ordered(x, torch.tensor([3.0, 500.0]))[:, :, order]).abs().max() > 1e-3


def test_a_transformer_leaves_padding_out():
    net = DiT(
        3, shape=(3, 9), dimensions=1, width=16, depth=2, heads=2, patch=1, positions="none", conditioning="adaln"
    )
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(0))
    x, time, there = torch.randn(2, 3, 9), torch.tensor([3.0, 500.0]), torch.arange(9) < torch.tensor([[9], [4]])
    out = net(x, time, mask=there[:, None])
    torch.testing.assert_close(out[1:, :, :4], net(x[1:, :, :4], time[1:]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out[:1], net(x[:1], time[:1]), rtol=1e-4, atol=1e-5)
    assert (out[1] - net(x, time)[1]).abs().max() > 1e-3
    with pytest.raises(Refused, match="a DiT of patch 3 reads several places as one, and padding with them: patch = 1"):
        DiT(3, shape=(3, 9), dimensions=1, width=16, depth=2, heads=2, patch=3)(x, time, mask=there[:, None])


def test_a_person_says_how_many_points_a_cloud_has():
    clouds = np.stack([POINTS.T, POINTS[[2, 1, 0, 1, 2, 2, 3]].T])
    assert own_points(clouds).sum(1).tolist() == [7, 4]
    assert own_points(clouds)[1].tolist() == [True, True, True, False, False, False, True]
    kind = PointCountCondition().fit(own_points(clouds)[:, None], ())
    assert kind.from_items(own_points(clouds)[:, None], ()).tolist() == [7, 4]
    assert kind.given(3, 2, "mask").sum(2).tolist() == [[3], [3]]
    filled = kind.finished(torch.from_numpy(clouds), kind.encode(own_points(clouds)[:, None])).numpy()
    assert np.array_equal(filled[0], clouds[0])
    assert filled[1][0].tolist() == [*POINTS[[2, 1, 0, 3, 2, 1, 0], 0].tolist()]
    for value in (8, [1, 2, 3], 0, 2.5):
        with pytest.raises(Refused, match="mask is how many points a cloud has, a whole number from 1 to 7, one for"):
            kind.given(value, 2, "mask")
    with pytest.raises(Refused, match="mask = 'a': write whole numbers with commas between them"):
        kind.from_word("a", "mask")
    with pytest.raises(Refused, match=r"conditions.mask: how many points there are is never dropped"):
        declared({"mask": {"kind": "point_count", "drop": 0.1}})
    with pytest.raises(Refused, match=r"conditions.mask.kind = 'vector': it must be point_count"):
        declared({"mask": {"kind": "vector"}})
    with pytest.raises(Refused, match=r"conditions.count.kind = 'point_count': it must be "):
        declared({"count": {"kind": "point_count"}})


def test_chamfer_distances_and_what_is_counted_of_them():
    x = np.random.default_rng(0).normal(size=(4, 3, 6)).astype(np.float32)
    y = np.random.default_rng(1).normal(size=(5, 3, 6)).astype(np.float32)
    apart = ((x[1].T[:, None] - y[2].T[None]) ** 2).sum(2)
    assert chamfer(x, y)[1, 2] == pytest.approx(apart.min(0).mean() + apart.min(1).mean(), rel=1e-4)
    assert chamfer(x, x).diagonal() == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(chamfer(x, y), chamfer(y, x).T, rtol=1e-4)
    near = np.array([[0.0, 9.0], [9.0, 0.0]])
    assert neighbours(near, np.full((2, 2), 1.0) + np.eye(2), near) == (0.0, 1.0, 1.0)
    assert neighbours(near / 90, np.array([[5.0, 6.0], [5.0, 6.0]]), near / 90) == (1.0, 0.5, 5.5)


def test_clouds_far_from_0_are_as_far_apart_as_near_it():
    """With more than 25 points PyTorch multiplies matrices for distances, which lose what is small beside the clouds'
    own place.
    """
    x, y = (np.random.default_rng(i).normal(size=(2, 3, 30)) for i in (0, 1))
    np.testing.assert_allclose(chamfer(x + 1e6, y + 1e6), chamfer(x, y), rtol=1e-5)
    assert chamfer(x + 1e6, x + 1e6).diagonal() == pytest.approx(0, abs=1e-5)


def test_samples_of_the_law_are_at_their_floors_and_others_are_found():
    train, held_out = Surfaces(count=240, points=32, seed=1).load().split(0.25)
    good = np.asarray(Surfaces(count=60, points=32, seed=2).load().x)
    bad = good * np.array([[1.0], [1.0], [0.3]], np.float32)
    how = Judge(cached=False)  # by no metric that takes a cloud for a list
    same, other = (how(x, Real(train, held_out)).verdicts for x in (good, bad))
    assert set(same) == {"one_nna", "cloud_coverage", "cloud_distance"}
    assert abs(same["one_nna"]["value"] - 0.5) < 0.15
    assert abs(same["one_nna"]["floor"] - 0.5) < 0.15
    assert other["one_nna"]["value"] > 0.85
    assert same["cloud_coverage"]["value"] > other["cloud_coverage"]["value"] + 0.1
    assert same["cloud_distance"]["ratio"] == pytest.approx(1, abs=0.15)
    assert other["cloud_distance"]["ratio"] > 1.3
    assert set(Judge(metrics=("frechet",), cached=False)(good, Real(train, held_out)).verdicts) == {"frechet"}
    with pytest.raises(Refused, match="point clouds"):
        Judge(metrics=("cloud_neighbours",), cached=False)(good, Real(Dataset(train.x), Dataset(held_out.x)))


def test_a_cloud_is_seen_from_three_sides():
    x = np.zeros((1, 3, 1), np.float32)
    x[0, :, 0] = (1, 0, -1)
    picture = views(x)[0, 0]
    rows, columns = np.nonzero(picture == 40)
    assert picture.shape == (SIDE, 3 * SIDE + 8)
    assert sorted({column // (SIDE + 4) for column in columns.tolist()}) == [0, 1, 2]
    assert rows[columns > 2 * SIDE].min() > SIDE - 3  # z = -1 is at the bottom


def test_a_run_of_clouds_draws_pictures_and_arrays_that_can_be_trained_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    small = [
        "network.width=16",
        "network.depth=2",
        "network.heads=2",
        "sampler.steps=2",
        "data.points=16",
        f"data.path={tmp_path / 'own'}",
    ]
    for i in range(24):
        (tmp_path / "own" / ("box", "ball")[i % 2]).mkdir(parents=True, exist_ok=True)
        cloud = np.random.default_rng(i).normal(size=(6 + i, 3))
        np.save(tmp_path / "own" / ("box", "ball")[i % 2] / f"{i}.npy", cloud)
    short = ["train.steps=2", "train.batch=8", "train.validate_every=0", "train.warmup=0", "train.precision=float32"]
    short += ["train.previews=4", "train.preview_every=2"]
    training = undiffuse.train("point-clouds", out=tmp_path / "run", overrides=[*small, *short])
    own = training.data.at(0).mask
    assert own is not None
    assert own.shape == (8, 1, 16)
    assert not own.all()
    training.run()
    for name in ("x.png", "x.npy"):
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(tmp_path / "run"), "-n", "5", "-o", str(tmp_path / name)])
        assert not stop.value.code
    assert np.load(tmp_path / "x.npy").shape == (5, 16, 3)
    assert PointClouds(str(tmp_path / "x.npy"), points=16).load().x.shape == (5, 3, 16)
    model = undiffuse.load(tmp_path / "run")
    for name in ("x.ply", "x.obj"):
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(tmp_path / "run"), "--point-count", "9", "-o", str(tmp_path / name)])
        assert not stop.value.code
    drawn = model.sample(2, mask=[9, 16], label=["ball", "box"]).numpy()
    assert own_points(drawn).sum(1).tolist() == [9, 16]
    np.testing.assert_allclose(read(tmp_path / "x.ply"), drawn[0, :, :9].T, atol=1e-5)
    assert (tmp_path / "x.obj").read_text().count("v ") == 9
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(tmp_path / "run"), "-n", "2", "--point-count", "9,16", "-o", str(tmp_path / "y.npy")])
    assert not stop.value.code
    assert np.isnan(np.load(tmp_path / "y.npy")).all(2).sum(1).tolist() == [7, 0]
    with pytest.raises(Refused, match=r"a .ply or .obj file holds one cloud, not 4: ask for -n 1, or for all as .npy"):
        model.open(n=4).solid()
    assert list((tmp_path / "run" / "previews").iterdir())
    capfd.readouterr()
