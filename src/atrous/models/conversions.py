"""The keys of other libraries' segmentation nets, and ours.

A conversion renames keys. Where a file's net is built otherwise than ours by default, our model has a knob for it, named
here. Maps are resized by areas (`align_corners=False`) in our nets and with corners aligned in segmentation-models-pytorch's:
with its weights our scores differ from its by that resizing and by nothing else. (In PSPNet's pyramid both align corners.)

=============  ===============  ========================================================================================
library        model            settings that its file needs beside encoder.name
=============  ===============  ========================================================================================
torchvision    dilated_fcn      none
               deeplabv3        output_stride=8 multi_grid=null refine=true aux=true
smp            unet_encoder     none
               pspnet           kernel_sizes=[1,3] aux=false +encoder.depth=3
               pan              pooling=max gate=sigmoid +encoder.dilate_strided=true
               deeplabv3        output_stride=8 multi_grid=null refine=true +encoder.dilate_strided=true
               deeplabv3plus    dilations=[12,24,36] refine=[1,1] norm_between=false +encoder.dilate_strided=true
transformers   segmenter, setr  none; fills the encoder only
espnet         espnet           void_output=true; of Cityscapes also image_in_decoder=false
=============  ===============  ========================================================================================

Of segmentation-models-pytorch's encoders the ResNets, named alike in timm, and the "tu-" ones are converted; "tu-" ones need no
dilate_strided. Its PSPNet has no batch norm over single pixels; here a norm stands in that is the same in evaluation.
espnet are the authors' files, https://github.com/sacmehta/ESPNet, pretrained/: they end with an output for void, and take blue
before red, which is turned round. Their images are normalised by the training images' own mean and deviation, see `data.eval_transform`.
transformers has no Segmenter and no SETR; what is the same there is the vision transformer, `ViTModel` and `ViTForImageClassification`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Rules = tuple[tuple[str, str | None], ...]  # what a key begins with, and what takes its place; None leaves the key out

_BACKBONE: Rules = ((r"backbone\.", "encoder.net."),)
_ENCODER: Rules = ((r"encoder\.model\.", "encoder.net."), (r"encoder\.", "encoder.net."))  # tu- encoders first


def _aspp(theirs: str, ours: str) -> Rules:
    """The ASPP that torchvision and segmentation-models-pytorch have in common, its branches numbered 0 to 4."""
    atrous = tuple((rf"{theirs}\.convs\.{i}\.", f"{ours}.atrous.{i - 1}.") for i in (1, 2, 3))
    image = tuple((rf"{theirs}\.convs\.4\.{i}\.", f"{ours}.image.conv.{i - 1}.") for i in (1, 2))
    return (
        (rf"{theirs}\.convs\.0\.", f"{ours}.point."),
        *atrous,
        *image,
        (rf"{theirs}\.project\.", f"{ours}.project."),
    )


def _score_head(theirs: str, ours: str) -> Rules:
    """torchvision's FCNHead."""
    return ((rf"{theirs}\.([01])\.", rf"{ours}.0.\1."), (rf"{theirs}\.4\.", f"{ours}.2."))


def _conv_norm(theirs: str, ours: str) -> Rules:
    """The layers of segmentation-models-pytorch's PAN."""
    return ((rf"decoder\.{theirs}\.conv\.", f"{ours}.0."), (rf"decoder\.{theirs}\.bn\.", f"{ours}.1."))


def _vit(final_norm: str | None) -> Rules:
    block = r"(?:vit\.)?encoder\.layer\.(\d+)\."
    ours = r"encoder.net.blocks.\1."
    return (
        (r"(?:vit\.)?embeddings\.cls_token", "encoder.net.cls_token"),
        (r"(?:vit\.)?embeddings\.position_embeddings", "encoder.net.pos_embed"),
        (r"(?:vit\.)?embeddings\.patch_embeddings\.projection\.", "encoder.net.patch_embed.proj."),
        (rf"{block}attention\.attention\.(query|key|value)\.", rf"{ours}attn.\2."),
        (rf"{block}attention\.output\.dense\.", f"{ours}attn.proj."),
        (rf"{block}intermediate\.dense\.", f"{ours}mlp.fc1."),
        (rf"{block}output\.dense\.", f"{ours}mlp.fc2."),
        (rf"{block}layernorm_before\.", f"{ours}norm1."),
        (rf"{block}layernorm_after\.", f"{ours}norm2."),
        (r"(?:vit\.)?layernorm\.", final_norm),
        (r"(?:vit\.)?pooler\.|classifier\.", None),  # of image classification
    )


def _espnet() -> Rules:
    """The release's nets; in ESPNet's files ESPNet-C's keys begin with "encoder."."""
    norm = (r"(?:bn\.)?act\.", "norm.1."), (r"bn\.(?:bn\.)?", "norm.0.")
    inside = ((r"c1\.conv\.", "reduce."), *((rf"d{2**i}\.conv\.", f"branches.{i}.") for i in range(5)), *norm)

    def pyramid(theirs: str, ours: str) -> Rules:
        return tuple((theirs + part, ours + own) for part, own in inside)

    def norm_act(theirs: str, ours: str) -> Rules:
        return (rf"{theirs}\.bn\.", f"{ours}.0."), (rf"{theirs}\.act\.", f"{ours}.1.")

    encoder = r"(?:encoder\.)?"
    return (
        (rf"{encoder}level1\.conv\.", "stem.0."),
        *norm_act(f"{encoder}level1", "stem.1"),
        *(rule for i in (1, 2, 3) for rule in norm_act(f"{encoder}b{i}", f"norm{i}")),
        *(rule for i in (2, 3) for rule in pyramid(rf"{encoder}level{i}_0\.", f"down{i}.")),
        *(rule for i in (2, 3) for rule in pyramid(rf"{encoder}level{i}\.(\d+)\.", rf"level{i}.\1.")),
        (r"encoder\.classifier\.conv\.|classifier\.conv\.", "classifier."),
        (r"br\.", "decoder.norm3."),
        (r"up_l3\.0\.", "decoder.up3."),
        (r"level3_C\.conv\.", "decoder.skip2."),
        *norm_act(r"combine_l2_l3\.0", "decoder.mix2.0"),
        *pyramid(r"combine_l2_l3\.1\.", "decoder.mix2.1."),
        (r"up_l2\.0\.", "decoder.up2.0."),
        *norm_act(r"up_l2\.1", "decoder.up2.1"),
        (r"conv\.conv\.", "decoder.mix1.0."),
        *norm_act(r"conv", "decoder.mix1.1"),
        (r"classifier\.", "decoder.up1."),
    )


CONVERSIONS: dict[str, dict[str, Rules]] = {
    "torchvision": {
        "Adapter": ((r"", "model."),),
        "DilatedFCN": (*_BACKBONE, *_score_head("classifier", "head"), *_score_head("aux_classifier", "aux")),
        "DeepLabV3": (
            *_BACKBONE,
            *_score_head("aux_classifier", "aux"),
            *_aspp(r"classifier\.0", "context"),
            (r"classifier\.1\.", "refine.0."),
            (r"classifier\.2\.", "refine.1."),
            (r"classifier\.4\.", "classifier."),
        ),
    },
    "smp": {
        "Adapter": ((r"", "model."),),
        "UNet": (
            *_ENCODER,
            (r"decoder\.blocks\.(\d+)\.conv1\.0\.", r"decoder.\1.convs.0."),
            (r"decoder\.blocks\.(\d+)\.conv1\.1\.", r"decoder.\1.convs.1."),
            (r"decoder\.blocks\.(\d+)\.conv2\.0\.", r"decoder.\1.convs.3."),
            (r"decoder\.blocks\.(\d+)\.conv2\.1\.", r"decoder.\1.convs.4."),
            (r"segmentation_head\.0\.", "classifier."),
        ),
        "PSPNet": (
            (r"encoder\.layer[34]\.", None),  # not run in its nets of depth 3
            *_ENCODER,
            (r"decoder\.psp\.blocks\.(\d+)\.pool\.1\.", r"pyramid.reduce.\1."),
            (r"decoder\.conv\.", "head.0."),
            (r"segmentation_head\.0\.", "head.2."),
        ),
        "PAN": (
            *_ENCODER,
            *_conv_norm(r"fpa\.branch1\.1", "attention.image.conv"),
            *_conv_norm(r"fpa\.mid\.0", "attention.point"),
            *(rule for i in range(3) for rule in _conv_norm(rf"fpa\.down{i + 1}\.1", f"attention.down.{i}")),
            *(rule for i in range(2) for rule in _conv_norm(rf"fpa\.conv{i + 1}", f"attention.across.{i}")),
            *_conv_norm(r"fpa\.down3\.2", "attention.across.2"),
            *(rule for i in range(3) for rule in _conv_norm(rf"gau{3 - i}\.conv1\.1", f"decoder.{i}.gate")),
            *(rule for i in range(3) for rule in _conv_norm(rf"gau{3 - i}\.conv2", f"decoder.{i}.reduce")),
            (r"segmentation_head\.0\.", "classifier."),
        ),
        "DeepLabV3": (
            *_ENCODER,
            *_aspp(r"decoder\.aspp", "context"),
            (r"decoder\.conv\.", "refine.0."),
            (r"decoder\.bn\.", "refine.1."),
            (r"segmentation_head\.0\.", "classifier."),
        ),
        "DeepLabV3Plus": (
            *_ENCODER,
            *_aspp(r"decoder\.aspp\.0", "aspp"),
            (r"decoder\.aspp\.1\.", "prepare.0.0."),
            (r"decoder\.aspp\.2\.", "prepare.0.1."),
            (r"decoder\.block1\.", "reduce."),
            (r"decoder\.block2\.", "refine.0."),
            (r"segmentation_head\.0\.", "classifier."),
        ),
    },
    "transformers": {"Segmenter": _vit("encoder.net.norm."), "SETR": _vit(None)},
    "espnet": {"ESPNet": _espnet()},
}


def convert(
    tensors: Mapping[str, Tensor], rules: Rules, own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Renames a file's tensors, and joins or folds those that our model has in another form.

    Args:
        tensors: The file's, by its keys.
        rules: Of `CONVERSIONS`, or none. A key that none of them meets is kept.
        own: The model's state dict.

    Returns:
        The tensors by our keys, and the file's name of each.
    """
    state: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for key, value in tensors.items():
        pattern, replacement = next((rule for rule in rules if re.match(rule[0], key)), ("", ""))
        if replacement is not None:
            ours = re.sub(pattern, replacement, key, count=1)
            state[ours], names[ours] = value, key
    if rules:
        _join_attention(state, names)
        _fold_biases(state, own)
        _put_map_first(state)
        _take_red_first(state)
    return state, names


def _join_attention(state: dict[str, Tensor], names: dict[str, str]) -> None:
    """Queries, keys and values in one layer, as timm has them."""
    for key in [key for key in state if ".attn.query." in key]:
        parts = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in state for part in parts):
            joined = key.replace(".query.", ".qkv.")
            state[joined], names[joined] = torch.cat([state.pop(part) for part in parts]), names[key]


def _put_map_first(state: dict[str, Tensor]) -> None:
    """PSPNet's head reads the map before its pyramid, that of segmentation-models-pytorch after it."""
    reduce, head = "pyramid.reduce.0.0.weight", "head.0.0.weight"
    if reduce in state and head in state:
        state[head] = state[head].roll(state[reduce].shape[1], dims=1)


def _take_red_first(state: dict[str, Tensor]) -> None:
    """ESPNet's release reads images as OpenCV does; they enter its first layer, and end the maps of three levels."""
    if "down2.branches.0.weight" not in state:
        return
    seen = ["stem.0.", "norm1.", "norm2.", "down2.reduce.", "down3.reduce.", "decoder.skip2."]
    mix = state.get("decoder.mix1.0.weight")
    if mix is not None and mix.shape[1] - mix.shape[0] == 16 + 3:  # `image_in_decoder`
        seen.append("decoder.mix1.0.")
    for key, value in state.items():
        if key.startswith(tuple(seen)) and value.ndim:
            axis = 0 if value.ndim == 1 else 1
            image = value.narrow(axis, value.shape[axis] - 3, 3)
            state[key] = torch.cat([value.narrow(axis, 0, value.shape[axis] - 3), image.flip(axis)], axis)


def _fold_biases(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """A convolution's bias into the batch norm that follows it in our model."""
    for key in [key for key in state if key.endswith(".0.bias") and key not in own]:
        norm = f"{key.removesuffix('0.bias')}1."
        if f"{norm}running_mean" in state:  # the norm takes the mean away, and the bias with it
            state[f"{norm}running_mean"] = state[f"{norm}running_mean"] - state.pop(key)
        elif f"{norm}running_mean" in own:  # the file's net has no norm: one that adds the bias in evaluation
            bias = state.pop(key)
            state[f"{norm}running_mean"], state[f"{norm}running_var"] = torch.zeros_like(bias), torch.ones_like(bias)
            state[f"{norm}weight"] = torch.full_like(bias, math.sqrt(1 + nn.BatchNorm2d(1).eps))
            state[f"{norm}bias"] = bias
            state[f"{norm}num_batches_tracked"] = torch.tensor(0)
