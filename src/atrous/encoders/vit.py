"""A plain vision transformer as encoder: maps at the stride of its patches, from any of its blocks.

Dosovitskiy et al. (2021) "An Image is Worth 16x16 Words", ICLR, https://arxiv.org/abs/2010.11929.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.checkpointing import checkpoint_blocks
from atrous.encoders.encoder import create
from atrous.errors import ConfigError


class ViT(nn.Module):
    """A timm vision transformer (https://github.com/huggingface/pytorch-image-models) without its classifier.

    Position embeddings are resampled to each image's grid of patches (bicubic, by timm). Images are padded by zeros at the
    bottom and the right to whole patches.

    Args:
        name: timm's name, such as `vit_small_patch16_384` or `deit_base_patch16_384`, with or without a weights tag.
        weights: As in `atrous.encoders.encoder.Encoder`.
        image_size: Side of the square image whose grid the position embeddings are learned on; None takes the name's.
            Pretrained ones are resampled to it once.
        drop_path: Rate of stochastic depth at the last block; it grows linearly from the first.
        gradient_checkpointing: As in `atrous.encoders.encoder.Encoder`.

    Attributes:
        channels: Of the maps.
        depth: Number of blocks.
        patch: Side of a patch in pixels, the stride of the maps.

    Raises:
        ConfigError: If timm has no such network, it is no plain vision transformer, or the weights can't be had or don't fit.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None = None,
        image_size: int | None = None,
        drop_path: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        with torch.device("meta"):
            known = create(name, None)
        if not isinstance(known, VisionTransformer):
            raise ConfigError(
                f"encoder {name!r} is no plain vision transformer (timm builds a {type(known).__name__}); choose one such as "
                "vit_small_patch16_384, or a model that takes a CNN"
            )
        sizes = {} if image_size is None else {"img_size": image_size}
        net = create(name, weights, dynamic_img_size=True, drop_path_rate=drop_path, **sizes)
        net.prune_intermediate_layers([len(known.blocks) - 1], prune_norm=False, prune_head=True)  # type: ignore[operator]
        if gradient_checkpointing:
            checkpoint_blocks(net)
        self.net = net
        self.channels: int = known.embed_dim
        self.depth = len(known.blocks)
        self.patch: int = known.patch_embed.patch_size[0]

    def without_norm(self) -> ViT:
        """Takes away the layer norm after the last block, for decoders that bring their own."""
        self.net.norm = nn.Identity()
        return self

    def padded_size(self, images: Tensor) -> tuple[int, int]:
        """(height, width) of images (N, 3, H, W) filled up to whole patches."""
        height, width = images.shape[-2:]
        return height + -height % self.patch, width + -width % self.patch

    def forward(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Runs the transformer.

        Args:
            images: (N, 3, H, W).
            blocks: Whose results are wanted, counted from 1, ascending.

        Returns:
            One map (N, channels, H/patch, W/patch) for each of `blocks`, sizes rounded up, after the final layer norm.
        """
        height, width = self.padded_size(images)
        padded = F.pad(images, (0, width - images.shape[-1], 0, height - images.shape[-2]))
        indices = [block - 1 for block in blocks]
        features: list[Tensor] = self.net.forward_intermediates(  # type: ignore[operator]
            padded, indices=indices, norm=True, intermediates_only=True
        )
        return features
