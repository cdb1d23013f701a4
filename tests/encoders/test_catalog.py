import subprocess
import sys

import pytest
import timm
import torch

from atrous.encoders import catalog
from atrous.encoders.catalog import check_encoder
from atrous.encoders.encoder import Encoder
from atrous.errors import ConfigError

# The smallest network of a family where the first that timm lists is a large one.
SMALL = {
    "dpn": "dpn48b",
    "nf_regnet": "nf_regnet_b0",
    "resnetrs": "resnetrs50",
    "resnetaa": "resnetaa34d",
    "regnet": "regnetx_002",
}


def families(*, dilatable):
    return [prefix for prefix, strides in catalog._FAMILIES.items() if (8 in strides) is dilatable]


def member(prefix):
    return SMALL.get(prefix) or timm.list_models(f"{prefix}*")[0]


def test_impossible_stride_names_what_is_possible():
    with pytest.raises(
        ConfigError, match=r"encoder 'swin_tiny_patch4_window7_224' can't do output stride 8: it can 32 .*resnet\*, "
    ):
        check_encoder("swin_tiny_patch4_window7_224", 8)
    check_encoder("swin_tiny_patch4_window7_224", 32)


def test_stride_that_no_encoder_can():
    with pytest.raises(ConfigError, match="output stride 12 is none that an encoder can do; use 8, 16 or 32"):
        check_encoder("resnet18", 12)


def test_longest_beginning_counts_and_unknown_names_pass():
    check_encoder("mobilenetv4_conv_small", 8)
    with pytest.raises(ConfigError):
        check_encoder("mobilenetv4_hybrid_medium", 8)
    check_encoder("somebodys_net", 8)


def test_needs_no_torch():
    code = "import sys, atrous.encoders.catalog; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("prefix", families(dilatable=False))
def test_every_refused_family_is_one_of_timms(prefix):
    assert timm.list_models(f"{prefix}*")


@pytest.mark.parametrize("prefix", ["resnet", "regnet", "mobilenetv2", "repghostnet", "tinynet"])
def test_families_can_what_the_table_says(prefix):
    check_family(prefix)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", families(dilatable=True))
def test_all_families_can_what_the_table_says(prefix):
    check_family(prefix)


def check_family(prefix):
    with torch.device("meta"):
        encoder = Encoder(name=member(prefix), output_stride=8)
        sizes = [x.shape[-1] for x in encoder.eval()(torch.empty(1, 3, 256, 256))]
    assert [round(256 / size) for size in sizes] == encoder.strides  # unpadded layers make maps a little smaller
    assert encoder.strides[-1] == 8
