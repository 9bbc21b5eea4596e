"""What can be seen from a camera: the interface of a scene's renderables."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from undiffuse.core.random import Random

Field = Callable[[Tensor], tuple[Tensor, Tensor]]  # points (n, 3) -> densities (n,) and colours (n, 3) in [0, 1]


@dataclass(frozen=True, eq=False)
class Rendering:
    """pictures: (batch, *shape), as a prior's encoded items are: views as pixels in [-1, 1].

    opacity: how much each ray is held up, (batch, rays) in [0, 1]; None: there are no rays. turned_away: how much of
    what is seen faces away from the camera, (batch,): sum_i weight_i max(0, normal_i . direction)^2, the mean over rays
    (arXiv:2209.14988, app. A.2); None: it was not asked for.
    """

    pictures: Tensor
    opacity: Tensor | None = None
    turned_away: Tensor | None = None


class Renderable(nn.Module, ABC):
    """What a scene trains. solid: whether it has three dimensions, and so looks different from different cameras."""

    solid: ClassVar[bool] = True

    @abstractmethod
    def forward(self, cameras: Tensor, random: Random | None = None, normals: bool = False) -> Rendering:
        """What each of the cameras sees, (batch, 3), see `rendering.cameras`.

        random: where rays are sampled, and of which colour a random background is; None: at the middles, and white.
        normals: whether to find out what faces away.
        """

    @abstractmethod
    def roughness(self) -> Tensor:
        """The mean squared difference of neighbours, (); 0 where nothing has neighbours."""

    @abstractmethod
    def items(self) -> int:
        """How many different things it holds: images; 1 of what is solid."""

    @abstractmethod
    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Densities (n,), in 1 / unit of length, and colours (n, 3) in [0, 1] at points (n, 3); raises Refused for what
        is not solid.
        """
