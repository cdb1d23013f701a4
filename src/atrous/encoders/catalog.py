"""Which encoders can do which output stride, by name, so that a config is refused before torch is imported."""

from __future__ import annotations

from atrous.errors import ConfigError

_STRIDES = (8, 16, 32)

# Beginnings of timm's names; the longest that fits a name counts. tests/encoders/test_catalog.py builds them.
_DILATABLE = """
    resnet resnext wide_resnet resnetv2 resnetaa resnetrs resnest res2net res2next seresnet seresnext senet
    legacy_se ecaresnet ecaresnext eca_resnet gcresnet gcresnext skresnet skresnext nf_resnet nf_regnet nf_ecaresnet
    nf_seresnet nfnet eca_nfnet cspresnet cspresnext cspnext regnet gernet repvgg vgg densenet dla dpn darknet cspdarknet
    cs3darknet vovnet ese_vovnet eca_vovnet xception legacy_xception convnext convformer inception_next efficientnet
    mobilenetv1 mobilenetv2 mobilenetv3 mobilenetv4_conv mobilenet_edgetpu mnasnet semnasnet spnasnet fbnet mixnet
    tinynet hardcorenas lcnet rexnet ghostnet_ gc_efficientnet repghostnet repvit mobileone hgnet fasternet rdnet
    selecsls starnet
"""
# The first four pad by the image's size, as TensorFlow does; the others stride, upsample or attend to positions outside
# convolutions and poolings.
_STRIDED = """
    tf_ dm_nfnet nasnet pnasnet swin pvt maxvit maxxvit coatnet coatnext mobilevit mobilenetv4_hybrid mobilenetv5
    edgenext efficientformer efficientvit fastvit davit focalnet gcvit hiera mvitv2 nest nextvit poolformer caformer
    swiftformer tiny_vit twins mambaout iformer hrnet resnetblur ghostnetv inception_v inception_resnet botnet
    halonet lambda_resnet bat_resnext
"""
_FAMILIES = dict.fromkeys(_DILATABLE.split(), _STRIDES) | dict.fromkeys(_STRIDED.split(), (32,))


def check_encoder(name: str, output_stride: int) -> None:
    """Checks that an encoder can do an output stride, as far as its name tells.

    Args:
        name: timm's name of the encoder. A name of no known family passes: the encoder's constructor checks it.
        output_stride: The coarsest stride of its maps.

    Raises:
        ConfigError: If no encoder, or not this one, can do that output stride.
    """
    if output_stride not in _STRIDES:
        raise ConfigError(f"output stride {output_stride} is none that an encoder can do; use 8, 16 or 32")
    family = max((prefix for prefix in _FAMILIES if name.startswith(prefix)), key=len, default=None)
    if family is None or output_stride in _FAMILIES[family]:
        return
    able = ", ".join(f"{prefix.rstrip('_')}*" for prefix, strides in _FAMILIES.items() if output_stride in strides)
    raise ConfigError(
        f"encoder {name!r} can't do output stride {output_stride}: it can {', '.join(map(str, _FAMILIES[family]))} "
        f"(its strides can't become dilations). Encoders that can: {able}"
    )
