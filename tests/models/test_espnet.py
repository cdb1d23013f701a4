"""ESPNet against the release's layers, written out plainly, and against its authors' weights where they are."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from atrous.api import evaluate
from atrous.errors import CheckpointError
from atrous.models.espnet import ESPNet
from atrous.models.pretrained import load_pretrained

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "espnet_p_2_q_8_camvid.pth"
SHA256 = "7d354a257170322086dcd4c1e89a482454cf2c9d30b085e70883878dd59301af"


def conv(i, o, k, stride=1, d=1):
    return nn.Conv2d(i, o, k, stride, padding=(k - 1) // 2 * d, dilation=d, bias=False)


class Pyramid(nn.Module):
    """The release's two blocks, with its names."""

    def __init__(self, i, o, stride, nested):
        super().__init__()
        n = o // 5
        holder = lambda c: nn.ModuleDict({"conv": c})  # noqa: E731
        self.c1 = holder(conv(i, n, 3 if stride == 2 else 1, stride))
        for d in (1, 2, 4, 8, 16):
            setattr(self, f"d{d}", holder(conv(n, o - 4 * n if d == 1 else n, 3, d=d)))
        if nested:
            self.bn = nn.ModuleDict({"bn": nn.BatchNorm2d(o, eps=1e-3), "act": nn.PReLU(o)})
        else:
            self.bn, self.act = nn.BatchNorm2d(o, eps=1e-3), nn.PReLU(o)
        self.nested = nested

    def forward(self, x, residual):
        r = self.c1["conv"](x)
        d1, d2, d4, d8, d16 = (getattr(self, f"d{d}")["conv"](r) for d in (1, 2, 4, 8, 16))
        y = torch.cat([d1, d2, d2 + d4, d2 + d4 + d8, d2 + d4 + d8 + d16], 1)
        y = x + y if residual else y
        return self.bn["act"](self.bn["bn"](y)) if self.nested else self.act(self.bn(y))


def unit(**parts):
    return nn.ModuleDict(parts)


class Released(nn.Module):
    """`ESPNet` of train/Model.py, its keys and what is computed."""

    def __init__(self, classes, p, q, finest=19):
        super().__init__()
        norm = lambda c: {"bn": nn.BatchNorm2d(c, eps=1e-3), "act": nn.PReLU(c)}  # noqa: E731
        e = self.encoder = nn.Module()
        e.level1 = unit(conv=conv(3, 16, 3, 2), **norm(16))
        e.b1, e.b2, e.b3 = (unit(**norm(c)) for c in (19, 131, 256))
        e.level2_0, e.level3_0 = Pyramid(19, 64, 2, False), Pyramid(131, 128, 2, False)
        e.level2 = nn.ModuleList(Pyramid(64, 64, 1, True) for _ in range(p))
        e.level3 = nn.ModuleList(Pyramid(128, 128, 1, True) for _ in range(q))
        e.classifier = unit(conv=conv(256, classes, 1))
        double = lambda: nn.ConvTranspose2d(classes, classes, 2, 2, bias=False)  # noqa: E731
        self.level3_C = unit(conv=conv(131, classes, 1))
        self.br = nn.BatchNorm2d(classes, eps=1e-3)
        self.conv = unit(conv=conv(finest + classes, classes, 3), **norm(classes))
        self.up_l3 = nn.Sequential(double())
        self.combine_l2_l3 = nn.ModuleList([unit(**norm(2 * classes)), Pyramid(2 * classes, classes, 1, True)])
        self.up_l2 = nn.ModuleList([double(), unit(**norm(classes))])
        self.classifier, self.finest = double(), finest

    def forward(self, x):
        apply = lambda u, y: u["act"](u["bn"](u["conv"](y) if "conv" in u else y))  # noqa: E731
        e, pool = self.encoder, nn.AvgPool2d(3, 2, 1)
        half, quarter = pool(x), pool(pool(x))
        first = apply(e.level1, x)
        level1 = apply(e.b1, torch.cat([first, half], 1))
        start2 = e.level2_0(level1, False)
        y = start2
        for block in e.level2:
            y = block(y, True)
        level2 = apply(e.b2, torch.cat([y, start2, quarter], 1))
        start3 = e.level3_0(level2, False)
        y = start3
        for block in e.level3:
            y = block(y, True)
        scores = e.classifier["conv"](apply(e.b3, torch.cat([start3, y], 1)))
        y = torch.cat([self.level3_C["conv"](level2), self.up_l3(self.br(scores))], 1)
        y = self.combine_l2_l3[1](apply(self.combine_l2_l3[0], y), False)
        y = apply(self.up_l2[1], self.up_l2[0](y))
        return scores, self.classifier(apply(self.conv, torch.cat([y, level1 if self.finest == 19 else first], 1)))


@pytest.fixture(scope="module", params=[19, 16], ids=["train", "test"])  # of the release's two Model.py
def released(request, tmp_path_factory):
    torch.manual_seed(0)
    net = Released(6, 1, 2, request.param).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    folder = tmp_path_factory.mktemp("espnet")
    for name, part in (("whole", net), ("c", net.encoder)):  # the authors' torch did not count batches yet
        state = {key: value for key, value in part.state_dict().items() if not key.endswith(".num_batches_tracked")}
        torch.save(state, folder / f"{name}.pth")
    return net, folder


@torch.no_grad()
def test_the_releases_files_give_its_logits_of_images_in_rgb(released):
    net, folder = released
    images = torch.randn(2, 3, 48, 64)
    scores, logits = net(images.flip(1))
    settings = {"num_classes": 5, "alpha2": 1, "alpha3": 2, "void_output": True, "image_in_decoder": net.finest == 19}
    for name, decoder, expected in (("whole", True, logits), ("c", False, scores), ("whole", False, scores)):
        ours = ESPNet(**settings, decoder=decoder).eval()
        assert load_pretrained(ours, f"espnet:{folder / name}.pth") == []
        assert expected.std() > 0.01
        torch.testing.assert_close(ours(images).logits, expected, atol=1e-5, rtol=1e-5)
    kept = load_pretrained(ESPNet(**settings), f"espnet:{folder}/c.pth")
    assert kept
    assert all(key.startswith("decoder.") for key in kept)  # the second stage's start


def test_other_classes_start_the_decoder_anew_or_are_told_of_void(released):
    released, folder = released
    image = released.finest == 19
    spec = f"espnet:{folder}/whole.pth"
    net = ESPNet(num_classes=5, alpha2=1, alpha3=2, image_in_decoder=image)
    with pytest.raises(CheckpointError, match=r"6 classes and the model 5.*reset_head=true.*void_output=true"):
        load_pretrained(net, spec)
    for classes in (5, 2, 20):
        net = ESPNet(num_classes=classes, alpha2=1, alpha3=2, image_in_decoder=image)
        kept = load_pretrained(net, spec, reset_head=True)
        assert kept == [key for key in net.state_dict() if key.startswith(("classifier.", "decoder."))]


@pytest.mark.parametrize(("alpha3", "parameters"), [(8, 0.364e6), (3, 0.202e6), (5, 0.267e6)])
def test_parameters_are_the_papers(alpha3, parameters):
    net = ESPNet(num_classes=20, alpha3=alpha3)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(parameters, rel=0.01)


@pytest.mark.slow
def test_the_authors_camvid_weights_have_their_score():
    """`shared/weights/README.md` tells how another program scored them: 0.7010 over 12 outputs."""
    camvid = SHARED / "datasets" / "camvid"
    if not WEIGHTS.is_file() or not camvid.is_dir():
        pytest.skip(f"no weights at {WEIGHTS}, or no CamVid at {camvid}")
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == SHA256
    scored = evaluate(
        None,
        *("model=espnet", "model.void_output=true", f"weights=espnet:{WEIGHTS}", "data=camvid", f"data.root={camvid}"),
        "data.eval_transform.mean=[0.411895,0.425133,0.432671]",
        "data.eval_transform.std=[69.9043,72.6907,72.1257]",
        *("data.eval_batch_size=1", "accelerator=cpu", "split=val"),
    )
    assert scored.scores["miou"] == pytest.approx(0.7010, abs=5e-5)
