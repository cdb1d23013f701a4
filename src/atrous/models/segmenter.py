"""Segmenter.

Strudel, Garcia, Laptev, Schmid (2021) "Segmenter: Transformer for Semantic Segmentation", ICCV,
https://arxiv.org/abs/2105.05633. Where the paper is silent this follows the authors' release,
https://github.com/rstrudel/segmenter ("release" below).

Deviations:
- The encoder is timm's, whose layer norms add 1e-6 to the variance; the release's add 1e-5 to the same weights.
- Position embeddings are resampled bicubically, by timm; the release resamples bilinearly.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from atrous.encoders.vit import ViT
from atrous.errors import ConfigError
from atrous.layers.upsample import Upsample, crop
from atrous.types import SegOutput


class Segmenter(nn.Module):
    """A vision transformer whose patch embeddings are decoded into classes, one by one or by a second transformer.

    Args:
        num_classes: Channels of the logits.
        encoder: The vision transformer.
        decoder: "linear" classifies each patch; "mask" compares it with learned class embeddings after joint
            self-attention.
        decoder_layers: Blocks of the mask transformer; 2 in the paper and the release's config.yml, on Cityscapes 1.
        dropout: In the mask transformer; 0.1 in the release's config.yml.
        upsample: How patches become pixels, see `atrous.layers.upsample.Upsample`; bilinear in the paper.

    Raises:
        ConfigError: If there is no such decoder.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        encoder: ViT,
        decoder: str = "mask",
        decoder_layers: int = 2,
        dropout: float = 0.1,
        upsample: str = "bilinear",
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder: nn.Module
        if decoder == "linear":
            self.decoder = nn.Conv2d(encoder.channels, num_classes, kernel_size=1)
            _initialise(self.decoder)
        elif decoder == "mask":
            self.decoder = MaskTransformer(
                num_classes=num_classes, channels=encoder.channels, layers=decoder_layers, dropout=dropout
            )
        else:
            raise ConfigError(f"decoder {decoder!r} is none of Segmenter's; use decoder=linear or decoder=mask")
        self.upsample = Upsample(channels=num_classes, scale=encoder.patch, mode=upsample)

    def forward(self, images: Tensor) -> SegOutput:
        """(N, 3, H, W) -> logits (N, num_classes, H, W)."""
        (patches,) = self.encoder(images, [self.encoder.depth])  # (N, D, h, w)
        x = self.upsample(self.decoder(patches), self.encoder.padded_size(images))
        return SegOutput(crop(x, (images.shape[-2], images.shape[-1])))


class MaskTransformer(nn.Module):
    """Patches and class embeddings attend to each other; a class's mask is its product with every patch.

    Args:
        num_classes: Of class embeddings.
        channels: Of the patches and of the decoder, in heads of 64.
        layers: Transformer blocks.
        dropout: After attention, in it, and in the blocks' perceptrons.
    """

    def __init__(self, *, num_classes: int, channels: int, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.project = nn.Linear(channels, channels)
        self.classes = nn.Parameter(torch.empty(1, num_classes, channels))
        self.blocks = nn.Sequential(
            *(
                Block(
                    channels,
                    max(1, channels // 64),
                    qkv_bias=True,
                    proj_drop=dropout,
                    attn_drop=dropout,
                    norm_layer=nn.LayerNorm,
                )
                for _ in range(layers)
            )
        )
        self.norm = nn.LayerNorm(channels)
        self.project_patch = nn.Parameter(channels**-0.5 * torch.randn(channels, channels))
        self.project_class = nn.Parameter(channels**-0.5 * torch.randn(channels, channels))
        self.mask_norm = nn.LayerNorm(num_classes)
        self.apply(_initialise)
        nn.init.trunc_normal_(self.classes, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """What does not decay, as in the release; asked for under timm's name by `atrous.optim.groups`."""
        return {"classes"}

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) -> masks (N, num_classes, h, w)."""
        patches = self.project(x.flatten(2).transpose(1, 2))  # (N, h w, D)
        tokens = torch.cat([patches, self.classes.expand(len(x), -1, -1)], dim=1)  # (N, h w + C, D)
        tokens = self.norm(self.blocks(tokens))
        patches = F.normalize(tokens[:, : -self.num_classes] @ self.project_patch, dim=-1)
        classes = F.normalize(tokens[:, -self.num_classes :] @ self.project_class, dim=-1)  # (N, C, D)
        masks: Tensor = self.mask_norm(patches @ classes.transpose(1, 2))  # (N, h w, C)
        return masks.transpose(1, 2).reshape(len(x), self.num_classes, *x.shape[-2:])


def _initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and zero biases, `init_weights` in the release's model/utils.py."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
