import numpy as np
import pytest
import torch

from atrous.engine.deep_features import NetworkFeatures
from atrous.errors import ConfigError

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)


def features(**settings):
    kept = {"ckpt": None, "encoder": "test_resnet", "weights": None, "level": 1, "stride": 4, "seed": 0}
    return NetworkFeatures(**{**kept, **settings})


def test_an_encoders_map_at_the_stride_with_length_1():
    found = features()(IMAGE)
    assert found.shape[:2] == (16, 12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-5)
    np.testing.assert_array_equal(found, features()(IMAGE))
    assert not np.array_equal(found, features(seed=1)(IMAGE))
    with pytest.raises(ConfigError, match=r"level=9.*0 to"):
        features(level=9)(IMAGE)


def test_a_runs_encoder(finished_run):
    from_run = features(ckpt=str(finished_run))
    state = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in from_run.net.state_dict().items():
        assert torch.equal(value, state[f"model.encoder.{name}"])
    assert from_run(IMAGE).shape[:2] == (16, 12)
