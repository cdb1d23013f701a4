import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from atrous.config.output_stride import follow_output_stride
from atrous.engine.checkpoint import restore
from atrous.engine.resolution import resolution_of
from atrous.errors import ConfigError

ENCODER = {
    "_target_": "atrous.encoders.encoder.Encoder",
    "name": "test_resnet",
    "weights": None,
    "output_stride": 16,
    "multi_grid": [1, 2],
}
MODEL = {
    "_target_": "atrous.models.deeplabv3.DeepLabV3",
    "num_classes": 3,
    "output_stride": 16,
    "multi_grid": [1, 2],
    "dilations": [1, 3],
    "aspp_channels": 4,
    "encoder": ENCODER,
}


def followed(overrides, **changed):
    """What `evaluate` makes of a checkpoint's config in which interpolations are resolved."""
    trained = {"model": {**MODEL, **changed}}
    config = OmegaConf.merge(trained, OmegaConf.from_dotlist(overrides))
    return follow_output_stride(OmegaConf.to_container(config), trained, overrides)["model"]


@pytest.mark.parametrize("dilations", [[1, 3], None])
def test_the_denser_network_computes_the_coarser_ones_logits_and_more(dilations):
    """Every second logit at output stride 8 is one at 16, at all places; of the ASPP without its mean over the map."""
    torch.manual_seed(0)
    coarse = instantiate({**MODEL, "dilations": dilations}).eval()
    dense = instantiate(followed(["model.output_stride=8"], dilations=dilations)).eval()
    dense.load_state_dict(coarse.state_dict())
    for net in (coarse, dense):
        net.context.project[0].weight.data[:, -4:] = 0
    images = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        torch.testing.assert_close(dense(images).logits[..., ::2, ::2], coarse(images).logits, atol=1e-5, rtol=1e-4)


def test_rates_and_encoder_follow_unless_given():
    model = followed(["model.output_stride=8"])
    assert (model["dilations"], model["encoder"]["output_stride"]) == ([2, 6], 8)
    assert followed(["model.output_stride=8", "model.dilations=[1,3]"])["dilations"] == [1, 3]
    assert followed(["model.multi_grid=[1,1]"])["encoder"]["multi_grid"] == [1, 1]
    assert followed(["model.output_stride=8", "model.encoder.output_stride=32"])["encoder"]["output_stride"] == 32
    assert followed([]) == MODEL
    assert followed(["model.output_stride=8"], dilations=None)["dilations"] is None
    assert followed(["model.output_stride=8"], dilation=6)["dilation"] == 12


def test_rates_that_would_not_be_whole():
    with pytest.raises(ConfigError, match=r"dilations=\[1, 3\] at output stride 16 would be \[0.5, 1.5\] at 32.*Give"):
        followed(["model.output_stride=32"])


def test_a_checkpoint_is_restored_at_another_output_stride(finished_run):
    """Through `restore`, as evaluate and predict do: a checkpoint whose rates were typed at training."""
    path = finished_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["config"]["model"]["dilations"] = [1, 2, 3]
    edited = finished_run.parent / "edited.ckpt"
    torch.save(checkpoint, edited)
    restored = restore(edited, ["model.output_stride=8"], accelerator="cpu")
    assert restored.config["model"]["dilations"] == [2, 4, 6]
    assert restored.scorer.model.aspp.atrous[0][0].dilation == (2, 2)


@pytest.mark.parametrize(("dilations", "rates"), [([1, 3], "[2, 6]"), (None, "[12, 24, 36]")])
def test_the_protocol_names_what_the_rates_have_come_to(dilations, rates):
    model = followed(["model.output_stride=8"], dilations=dilations)
    assert resolution_of(model, instantiate(model)) == f"output stride 8, rates {rates}"
