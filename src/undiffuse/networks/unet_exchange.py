"""A U-Net's way to diffusers and back: its folders, and the names of its weights there."""

from abc import ABC
from functools import partial
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.blocks import Residual
from undiffuse.networks.diffusers_format import (
    arguments,
    config_of,
    read_folder,
    weights_from,
    weights_to,
    write_folder,
)
from undiffuse.networks.foreign_weights import holding, unwritten
from undiffuse.networks.unet_condition_format import config_of as condition_config_of
from undiffuse.networks.unet_condition_format import weights_to as condition_weights_to


class ExchangedUNet(Network, ABC):
    """A U-Net that folders of diffusers can be read into and written of; fields: as of a `UNet`."""

    head_width: int
    transformer_blocks: int
    time_widths: list[int]

    @classmethod
    def from_diffusers(cls, folder: str | Path) -> Self:
        """The network in the folder of a diffusers `UNet2DModel` (or of a pipeline that has one), with equal outputs.

        Where that model has class embeddings, each is a class here; the null class adds none of them.
        Raises Refused, naming the field, for what this network has not.
        """
        config, weights = read_folder(folder)
        unet = unwritten(partial(cls, **arguments(config)))
        ours = weights_from(weights, unet.residual_names())
        return holding(unet, ours, f"the weights in {folder} do not fit their config")

    def to_diffusers(self, folder: str | Path, sample_size: int | tuple[int, int] | None = None) -> None:
        """Write a folder that diffusers' `UNet2DModel.from_pretrained` reads.

        sample_size: the height and width that diffusers' pipelines draw by default.
        Raises Refused, naming the argument, for what a `UNet2DModel` has not. Nothing is written then.
        """
        groups = {m.num_groups for m in self.modules() if isinstance(m, nn.GroupNorm)}
        config = config_of(self, groups, sample_size)
        write_folder(folder, config, weights_to(self.state_dict(), self.residual_names(), self.time_widths))

    def in_diffusers(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        groups = {m.num_groups for m in self.modules() if isinstance(m, nn.GroupNorm)}
        blocks = self.residual_names(), self.time_widths
        try:
            if not self.transformer_blocks:
                config_of(self, groups, None)
                return weights_to(weights, *blocks)
            condition_config_of(self, groups, 0, 0)
            return condition_weights_to(weights, *blocks, linear=bool(self.head_width))
        except Refused:
            return {}

    def residual_names(self) -> list[str]:
        """The residual blocks in the order of `time_widths`."""
        return [name for name, m in self.named_modules() if isinstance(m, Residual)]
