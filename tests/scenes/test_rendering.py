"""Rays, volumes and surfaces against what can be written down."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.rendering import cameras
from undiffuse.rendering.mesh import mesh
from undiffuse.rendering.volume import Volume, chords, composite
from undiffuse.scenes import ImageScene, NeRF, Splats, Voxels
from undiffuse.scenes.splats import rotations

SIZE = 8


class Ball(Volume):
    """One density and colour, up to a radius."""

    def __init__(self, density: float, radius: float = 1.0, samples: int = 8, background: str = "white") -> None:
        super().__init__((3, SIZE, SIZE), samples, background)  # type: ignore[arg-type]
        self.density, self.radius = density, radius

    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        within = (points.norm(dim=-1) <= self.radius).to(points)
        return self.density * within, torch.full_like(points, 0.25)

    def roughness(self) -> Tensor:
        return torch.zeros(())


def drawn(count: int = 4) -> Tensor:
    u = Random(0).uniform((count, 3)).float()
    return torch.stack([6.28 * u[:, 0], u[:, 1] - 0.3, 2.5 + u[:, 2]], dim=1)


def test_a_homogeneous_sphere_is_as_opaque_as_its_chord_says():
    """opacity = 1 - exp(-density chord), wherever rays are sampled; the chord by the distance of ray and centre."""
    seen = Ball(1.7)(drawn(), Random(1))
    begin, rays = cameras.rays(drawn(), SIZE)
    miss = torch.linalg.cross(begin[:, None, None].expand_as(rays), rays).norm(dim=-1)
    chord = 2 * (1 - miss.square()).clamp(min=0).sqrt()
    opacity = 1 - torch.exp(-1.7 * chord)
    torch.testing.assert_close(seen.opacity, opacity.flatten(1), rtol=1e-4, atol=1e-5)
    colour = 2 * (0.25 * opacity + (1 - opacity)) - 1
    torch.testing.assert_close(seen.pictures, colour[:, None].expand(-1, 3, -1, -1), rtol=1e-4, atol=1e-5)


def test_the_weights_of_a_ray_are_what_is_held_up():
    density, length = Random(0).uniform((5, 7)), Random(1).uniform((5, 7))
    weights, opacity = composite(density, length)
    torch.testing.assert_close(weights.sum(-1), opacity)
    torch.testing.assert_close(opacity, 1 - torch.exp(-(density * length).sum(-1)))
    by_hand, left = [], torch.ones(5, dtype=torch.float64)
    for i in range(7):
        by_hand.append(left * (1 - torch.exp(-density[:, i] * length[:, i])))
        left = left * torch.exp(-density[:, i] * length[:, i])
    torch.testing.assert_close(weights, torch.stack(by_hand, dim=1))


def test_gradients_of_compositing_are_those_of_finite_differences():
    density = Random(0).uniform((2, 6)).requires_grad_()
    length = Random(1).uniform((2, 6))
    assert torch.autograd.gradcheck(lambda d: composite(d, length), (density,))


def test_a_camera_sees_a_point_where_its_matrix_says():
    """The pinhole written out: world to camera by a rotation and a shift, then over depth."""
    camera = torch.tensor([[0.7, 0.4, 3.2]], dtype=torch.float64)
    points = torch.tensor([[0.3, -0.2, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64)
    a, e, d = camera[0].tolist()
    rotation = torch.tensor(
        [
            [-math.sin(a), math.cos(a), 0.0],
            [-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e)],
            [-math.cos(e) * math.cos(a), -math.cos(e) * math.sin(a), -math.sin(e)],
        ],
        dtype=torch.float64,
    )
    assert float(torch.linalg.det(rotation)) == pytest.approx(-1)  # right, up, forward: a left-handed triple
    x, y, z = (points @ rotation.T + torch.tensor([0.0, 0.0, d], dtype=torch.float64)).T
    focal = 32 / math.tan(math.radians(20))
    expected = torch.stack([32 - focal * y / z, 32 + focal * x / z], dim=1)
    torch.testing.assert_close(cameras.project(points, camera, 64)[0], expected)
    torch.testing.assert_close(expected[1], torch.tensor([32.0, 32.0], dtype=torch.float64))


def test_the_ray_of_a_pixel_meets_the_points_that_appear_in_it():
    begin, rays = cameras.rays(drawn(), SIZE)
    points = (begin[:, None, None] + 2.3 * rays)[1]
    found = cameras.project(points.reshape(-1, 3), drawn()[1:2], SIZE)[0].reshape(SIZE, SIZE, 2)
    middle = torch.arange(SIZE) + 0.5
    expected = torch.stack(torch.meshgrid(middle, middle, indexing="ij"), dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_views_are_named_by_azimuth_and_elevation():
    degrees = [(0, 0), (44, 0), (46, 0), (90, 59), (180, -9), (270, 0), (316, 10), (350, 10), (100, 61)]
    where = torch.tensor([[math.radians(a), math.radians(e), 3.0] for a, e in degrees])
    words = [cameras.VIEWS[i] for i in cameras.views(where)]
    assert words == ["front", "front", "side", "side", "back", "side", "front", "front", "overhead"]


@pytest.mark.parametrize("background", ["white", "black", "random", "learned"])
def test_what_misses_a_scene_is_background(background: str):
    scene = Ball(0.0, background=background)
    seen = scene(drawn(), Random(3)).pictures.detach()
    assert float((seen - seen[:, :, :1, :1]).abs().max()) < 1e-6
    expected = {"white": 1.0, "black": -1.0, "learned": 0.0}.get(background)
    assert expected is None or float((seen - expected).abs().max()) < 1e-6
    assert (len(seen[:, 0, 0, 0].unique()) == 4) == (background == "random")
    if background == "random":
        assert float((scene(drawn()).pictures.detach() - 1).abs().max()) < 1e-6


def test_only_what_faces_away_is_counted():
    """A ball's front faces the camera; the inner side of a hollow faces it no less than its back does not."""

    class Hollow(Ball):
        def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
            far = (points.norm(dim=-1) - 0.5).clamp(min=0)
            return 40 * far, torch.zeros_like(points)

    class Full(Ball):
        def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return 40 * (0.9 - points.norm(dim=-1)).clamp(min=0), torch.zeros_like(points)

    camera = drawn()
    assert Ball(1.0)(camera).turned_away is None
    full, hollow = (kind(1.0, samples=64)(camera, normals=True).turned_away for kind in (Full, Hollow))
    assert float(hollow.mean()) > 5 * float(full.detach().mean())  # type: ignore[union-attr]


@pytest.mark.each("name", registry.names("scenes"))
def test_every_renderable_learns_what_a_camera_sees(name: str):
    """Its pictures follow the camera where it is solid, have gradients, and depend on the seed and the row alone."""
    torch.manual_seed(0)
    scene = registry.build("scenes", {"name": name}, shape=(3, SIZE, SIZE))
    optimiser, wanted = torch.optim.Adam(scene.parameters(), 0.02, fused=True), torch.full((3, SIZE, SIZE), 0.3)
    first = (scene(drawn()).pictures - wanted).square().mean()
    for _ in range(4):
        loss = (scene(drawn(), Random(0)).pictures - wanted).square().mean() + scene.roughness()
        optimiser.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in scene.parameters())
        optimiser.step()
    assert float((scene(drawn()).pictures - wanted).square().mean().detach()) < float(first.detach())
    both = scene(drawn(), Random(5)).pictures
    alone = scene(drawn()[2:3], Random(5, torch.tensor([2]))).pictures
    torch.testing.assert_close(both[2:3], alone, rtol=1e-4, atol=1e-5)
    assert scene.solid == (scene.items() == 1)


def placed(*means: tuple[float, float, float], opacity: float = 0.8) -> Splats:
    """Round splats of deviation 0.2, the first red, the second blue, before black."""
    made = Splats((3, SIZE, SIZE), count=len(means), scale=0.2, background="black").double()
    with torch.no_grad():
        made.means.copy_(torch.tensor(means))
        made.opacities.fill_(math.log(opacity / (0.999 - opacity)))
        made.colours.copy_(20 * torch.tensor([[1.0, -1, -1], [-1, -1, 1]])[: len(means)])
    return made.requires_grad_(False)


def test_a_splat_is_as_opaque_as_its_gaussian_where_the_ray_passes():
    camera = drawn().double()
    one = placed((0.1, -0.2, 0.3))
    begin, rays = cameras.rays(camera, SIZE)
    miss = torch.linalg.cross((begin - one.means)[:, None, None].expand_as(rays), rays).norm(dim=-1)
    wanted = 0.8 * torch.exp(-0.5 * (miss / 0.2) ** 2)
    torch.testing.assert_close(one(camera).opacity, wanted.flatten(1))
    torch.testing.assert_close(one(camera).pictures[:, 0], 2 * wanted - 1)
    with torch.no_grad():  # an ellipsoid, by the least of many places along each ray
        one.turns.copy_(torch.tensor([[0.3, -0.5, 0.7, 0.2]]))
        one.scales.copy_(torch.tensor([[0.1, 0.3, 0.5]]).log())
    torch.testing.assert_close(rotations(one.turns) @ rotations(one.turns).mT, torch.eye(3).double()[None])
    along = torch.linspace(0, 8, 8000, dtype=torch.float64)
    inner = (begin[:, None, None, None] + along[:, None] * rays[..., None, :] - one.means) @ rotations(one.turns)[0]
    least = (inner / torch.tensor([0.1, 0.3, 0.5])).square().sum(-1).min(-1).values
    torch.testing.assert_close(one(camera).opacity, (0.8 * torch.exp(-least / 2)).flatten(1), rtol=0, atol=1e-5)


def test_the_nearer_splat_hides_the_other_and_a_mesh_is_where_they_are():
    both, front = placed((0.5, 0.0, 0.0), (-0.5, 0.0, 0.0)), torch.tensor([[0.0, 0.0, 3.0], [math.pi, 0.0, 3.0]])
    seen = (both(front.double()).pictures[:, :, SIZE // 2, SIZE // 2] + 1) / 2
    assert float(seen[0, 0]) > 3 * float(seen[0, 2]) > 0
    assert float(seen[1, 2]) > 3 * float(seen[1, 0]) > 0
    line = torch.zeros(20001, 3, dtype=torch.float64)
    line[:, 2] = torch.linspace(-1, 1, 20001)
    depth = placed((0.0, 0.0, 0.0)).field(line)[0].sum() * 1e-4
    assert float(1 - torch.exp(-depth)) == pytest.approx(0.8, abs=1e-4)
    found = mesh(both.float().field, 2.0, side=24)
    assert set(np.sign(found.vertices[:, 0])) == {-1.0, 1.0}
    assert found.colours is not None
    assert (found.colours[found.vertices[:, 0] > 0] == (255, 0, 0)).all()
    with pytest.raises(Refused, match=r"splats have no surface that could turn away: set objective.orientation = 0"):
        both(front, normals=True)


def test_voxels_hold_what_lies_at_their_corners():
    scene = Voxels((3, SIZE, SIZE), side=5)
    with torch.no_grad():
        scene.grid.copy_(torch.arange(4 * 125, dtype=torch.float32).reshape(1, 4, 5, 5, 5) / 500 - 0.5)
    _, colour = scene.field(torch.tensor([[-1.0, 0.5, 0.0], [-1.0, 0.5, 0.25]]))
    corners = scene.grid[0, 1:, 0, 3]
    expected = torch.stack([corners[:, 2], (corners[:, 2] + corners[:, 3]) / 2]).sigmoid()
    torch.testing.assert_close(colour, expected)


def test_the_mesh_of_a_ball_is_a_closed_ball_seen_from_outside():
    """Volume and area to the size of the cubes; each edge belongs to two triangles that run along it both ways."""

    def ball(points: Tensor) -> tuple[Tensor, Tensor]:
        return 10 * (1.2 - points.norm(dim=-1)), points.abs().clamp(max=1)

    found = mesh(ball, 5.0, side=24)
    radius = 0.7
    corners = torch.from_numpy(found.vertices[found.faces]).double()  # (m, 3, 3)
    volume = torch.linalg.det(corners).sum() / 6
    assert float(volume) == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.02)
    assert float(torch.from_numpy(found.vertices).norm(dim=1).sub(radius).abs().max()) < 0.02
    edges = [tuple(edge) for face in found.faces.tolist() for edge in zip(face, face[1:] + face[:1], strict=True)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)
    assert found.colours is not None
    assert abs(found.colours / 255 - abs(found.vertices)).max() < 0.01
    head, body = found.ply().split(b"end_header\n", 1)
    assert f"element vertex {len(found.vertices)}\n".encode() in head
    assert len(body) == 15 * len(found.vertices) + 13 * len(found.faces)
    lines = found.obj().decode().splitlines()
    assert lines[0].split()[1:4] == [f"{number:.6f}" for number in found.vertices[0]]
    assert lines[len(found.vertices)].split() == ["f", *(str(i + 1) for i in found.faces[0])]


def test_chords_of_rays_that_miss_have_no_length():
    near, far = chords(torch.tensor([3.0, 0.0, 0.0]), torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    torch.testing.assert_close(far - near, torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Voxels((1, 8, 8)), r"is seen as pictures 3 x size x size, not of shape \(1, 8, 8\)"),
        (lambda: NeRF((3, 8, 9)), r"is seen as pictures 3 x size x size, not of shape \(3, 8, 9\)"),
        (lambda: Voxels((3, 8, 8), samples=1), "a ray needs 2 samples or more, not 1"),
        (lambda: Voxels((3, 8, 8), side=1), "voxels need a side of 2 or more and a strength above 0, not 1 and 15"),
        (lambda: Splats((3, 8, 8), count=0), "splats need a count of 1 or more and a scale and radius above 0, not 0"),
        (lambda: NeRF((3, 8, 8), depth=1), "a nerf needs frequencies and a width of 1 or more, a depth of 2 or more"),
        (lambda: ImageScene((2,), count=0), "images need a count of 1 or more and noise of 0 or more, not 0 and 0.5"),
        (lambda: Ball(1.0, background="whte"), r"the background of a scene has no 'whte' \(did you mean 'white'"),
        (lambda: ImageScene((2,)).field(torch.zeros(1, 3)), "images have no third dimension: take scene.name"),
        (lambda: mesh(lambda p: (0 * p[:, 0], p), 5.0, side=4), "no surface: its density is nowhere 5 or more"),
    ],
)
def test_scenes_that_cannot_be_are_refused(make: object, message: str):
    with pytest.raises(Refused, match=message):
        make()  # type: ignore[operator]
