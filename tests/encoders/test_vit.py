import pytest
import timm
import torch

from atrous.encoders.vit import ViT
from atrous.errors import ConfigError

NAME = "test_vit"  # 6 blocks of 64 channels, patches of 16 pixels, made for 160 x 160


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return timm.create_model(NAME).eval()


@pytest.fixture(scope="module")
def path(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("vit") / "weights.pth"
    torch.save(classifier.state_dict(), path)
    return str(path)


def patches(tokens, height, width):
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, height, width)


def test_last_map_is_the_classifiers_patches_after_its_norm(classifier, path):
    images = torch.randn(2, 3, 64, 96)
    encoder = ViT(name=NAME, weights=path).eval()
    with torch.no_grad():
        (last,) = encoder(images, [encoder.depth])
        torch.testing.assert_close(last, patches(classifier.forward_features(images), 4, 6))
    assert last.shape[1] == encoder.channels
    assert not {key for key in encoder.state_dict() if "head" in key}


def test_maps_of_blocks_without_the_norm(classifier, path):
    images = torch.randn(1, 3, 32, 32)
    encoder = ViT(name=NAME, weights=path).eval().without_norm()
    with torch.no_grad():
        maps = encoder(images, [2, 3, 6])
        x = classifier._pos_embed(classifier.patch_embed(images))
        for i, block in enumerate(classifier.blocks, start=1):
            x = block(x)
            if i in (2, 3, 6):
                torch.testing.assert_close(maps.pop(0), patches(x, 2, 2))


@pytest.mark.parametrize("size", [(33, 50), (15, 16), (161, 160)])
def test_images_are_padded_with_zeros_to_whole_patches(size):
    encoder = ViT(name=NAME).eval()
    images = torch.randn(1, 3, *size)
    height, width = encoder.padded_size(images)
    assert (height, width) == tuple(16 * -(-side // 16) for side in size)
    whole = torch.zeros(1, 3, height, width)
    whole[..., : size[0], : size[1]] = images
    with torch.no_grad():
        for ours, padded in zip(encoder(images, [3, 6]), encoder(whole, [3, 6]), strict=True):
            torch.testing.assert_close(ours, padded)


def test_position_embeddings_resampled_once_or_for_each_image_agree(path):
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        (once,) = ViT(name=NAME, weights=path, image_size=96).eval()(images, [6])
        (each,) = ViT(name=NAME, weights=path).eval()(images, [6])
    torch.testing.assert_close(once, each)


def test_depth_drops_whole_blocks_in_training_only():
    torch.manual_seed(0)
    encoder = ViT(name=NAME, drop_path=0.9)
    images = torch.randn(1, 3, 32, 32).expand(8, -1, -1, -1)
    assert encoder.train()(images, [6])[0].std(dim=0).max() > 1e-3
    assert encoder.eval()(images, [6])[0].std(dim=0).max() < 1e-4


def test_encoder_that_is_no_vision_transformer():
    with pytest.raises(
        ConfigError, match=r"'resnet18' is no plain vision transformer \(timm builds a ResNet\); choose"
    ):
        ViT(name="resnet18")
    with pytest.raises(ConfigError, match=r"no encoder 'vit_tiny_patch16_'; did you mean .*vit_tiny_patch16_224"):
        ViT(name="vit_tiny_patch16_")


def test_weights_of_another_transformer(path):
    with pytest.raises(ConfigError, match="don't fit encoder 'test_vit2'"):
        ViT(name="test_vit2", weights=path)
