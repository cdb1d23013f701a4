"""Any timm CNN as a feature pyramid, at the output stride that the segmentation network asks for."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from atrous.encoders.catalog import check_encoder
from atrous.encoders.checkpointing import checkpoint_blocks
from atrous.encoders.dilation import dilate
from atrous.encoders.packaged import packaged_weights
from atrous.encoders.weights_file import read_weights
from atrous.errors import ConfigError


class Encoder(nn.Module):
    """A timm CNN (https://github.com/huggingface/pytorch-image-models) that returns its feature maps.

    Args:
        name: timm's name of the network, with or without a weights tag, such as `resnet50` or `resnet50.a1_in1k`.
        weights: None for random weights, "imagenet" for those of the extra `pretrained` where it has the network (see
            `atrous.encoders.packaged`) and else for timm's (needs the internet or timm's cache), or the path of a `.pth` or `.safetensors` file with the classifier's state dict under timm's keys.
        output_stride: The coarsest stride of the maps, 8, 16 or 32; strides beyond it become dilations.
        multi_grid: Unit rates of the last stage's blocks, see `atrous.encoders.dilation.dilate`.
        dilate_strided: See `atrous.encoders.dilation.dilate`.
        depth: How many maps; the stages after the last one are left out. None keeps all.
        in_channels: Of the images. Pretrained first convolutions are adapted as timm does.
        gradient_checkpointing: Compute the blocks' intermediate results again in the backward pass instead of keeping them, see
            `atrous.encoders.checkpointing`: less memory for one more forward pass. Results stay the same.

    Attributes:
        channels: Of each map, finest first.
        strides: Of each map; the last one is the output stride.
        ends_in_pool: Whether the last map is but a max pooling of the one before, as in VGG, whose other maps also
            stand before their pooling.

    Raises:
        ConfigError: If timm has no such network, it can't do the output stride, the weights can't be had or don't fit, or
            there are no blocks for `gradient_checkpointing`.
        CheckpointError: If the weights file is damaged.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None = None,
        output_stride: int = 32,
        multi_grid: Sequence[int] | None = None,
        dilate_strided: bool = False,
        depth: int | None = None,
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_encoder(name, output_stride)
        self.name, self.multi_grid = name, multi_grid and list(multi_grid)
        maps = {} if depth is None else {"out_indices": tuple(range(depth))}
        self.net = create(name, weights, features_only=True, in_chans=in_channels, **maps)
        info: Any = self.net.feature_info
        if len(info.reduction()) > len(set(info.reduction())) == 1:
            raise ConfigError(
                f"encoder {name!r} has all its maps at stride {info.reduction()[0]}, as vision transformers do; choose a CNN such as "
                "resnet50, or model=segmenter or model=setr"
            )
        self.channels: list[int] = info.channels()
        self.strides: list[int] = [min(stride, output_stride) for stride in info.reduction()]
        self.ends_in_pool = isinstance(list(self.net.children())[-1], nn.MaxPool2d)
        if output_stride < info.reduction()[-1] or multi_grid is not None:
            dilate(self.net, output_stride, multi_grid, dilate_strided=dilate_strided)
        if gradient_checkpointing and not checkpoint_blocks(self.net):
            raise ConfigError(
                f"encoder {name!r} is a row of single layers without blocks to compute again; use "
                "model.encoder.gradient_checkpointing=false, or an encoder of blocks such as resnet50"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns one map (N, channels[i], ~H/strides[i], ~W/strides[i]) for each stride, sizes rounded up or down."""
        features: list[Tensor] = self.net(images)
        return features

    def at_stride(self, stride: int) -> int:
        """Returns the index of the last map at a stride.

        Raises:
            ConfigError: If the encoder has no map at that stride.
        """
        if stride not in self.strides:
            raise ConfigError(
                f"encoder {self.name!r} has maps at strides {self.strides}, none at {stride}; choose an encoder that has one, such as resnet18"
            )
        return len(self.strides) - 1 - self.strides[::-1].index(stride)

    def expect(self, output_stride: int, multi_grid: Sequence[int] | None = None) -> None:
        """Checks that the encoder was built as its model says.

        Raises:
            ConfigError: If the output stride or the multi-grid differ.
        """
        if (self.strides[-1], self.multi_grid) != (output_stride, multi_grid and list(multi_grid)):
            raise ConfigError(
                f"the model says output_stride={output_stride}, multi_grid={multi_grid} but its encoder {self.name!r} was built with "
                f"output_stride={self.strides[-1]}, multi_grid={self.multi_grid}; let the encoder follow the model: "
                "output_stride: ${model.output_stride}, multi_grid: ${model.multi_grid}"
            )


def create(name: str, weights: str | None, **options: Any) -> nn.Module:
    """Builds a timm network, with our errors.

    Args:
        name: timm's name.
        weights: As in `Encoder`.
        options: Further arguments of `timm.create_model`.

    Raises:
        ConfigError: If there is no such network, or the weights can't be had or don't fit.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.6)
        hint = f"did you mean {', '.join(close)}?" if close else "`timm.list_models()` lists what there is"
        raise ConfigError(f"timm {timm.__version__} has no encoder {name!r}; {hint}")
    build: Callable[..., nn.Module] = functools.partial(timm.create_model, name, **options)
    if weights is None:
        return build()
    if weights == "imagenet":
        if (state := packaged_weights(name)) is not None:
            return build(pretrained=True, pretrained_cfg_overlay={"state_dict": state})
        try:
            return build(pretrained=True)
        except Exception as error:  # whatever the hub's client of the day raises without a network
            raise ConfigError(
                f"encoder {name!r} has no ImageNet weights that can be had here ({type(error).__name__}: {error}); use "
                "model.encoder.weights=null for random weights, or model.encoder.weights=<path of a .pth or .safetensors file>"
            ) from None
    state = {key: value for key, value in _load(name, weights).items() if isinstance(value, Tensor)}
    try:
        return build(pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    except (RuntimeError, KeyError) as error:
        raise ConfigError(f"the weights in {weights} don't fit encoder {name!r}: {error}") from None


def _load(name: str, weights: str) -> dict[str, Any]:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"no weights for encoder {name!r} at {weights}; give null, imagenet, or the path of a .pth or .safetensors file"
        )
    state = read_weights(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ConfigError(
            f"{weights} holds a {type(state).__name__}, not the state dict of encoder {name!r}; save `classifier.state_dict()`"
        )
    return state
