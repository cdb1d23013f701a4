"""Independent references for the dense CRF: pydensecrf, and the definition with every pair of pixels."""

import cv2
import numpy as np
import pytest

from atrous.data.scenes.scenes import Scenes


def scene(size=(72, 101), seed=0, classes=11):
    """An image of `scenes` and uncertain probabilities for it, float32 (classes, H, W)."""
    sample = Scenes(split="val", length=8, size=size, context_distance=8, scale_range=[8, 32], seed=0)[seed]
    return np.ascontiguousarray(sample.image), uncertain(sample.mask, seed=seed, classes=classes)


def uncertain(mask, *, seed=0, classes=11):
    """Softmax of blurred labels and noise; ignored pixels are uncertain of all."""
    rng = np.random.default_rng(seed)
    scores = 4 * (mask[..., None] == np.arange(classes)).astype(np.float32)
    coarse = rng.normal(0, 1, scores.shape).astype(np.float32)
    blurred = [
        cv2.GaussianBlur(scores[..., c], (0, 0), 4) + 8 * cv2.GaussianBlur(coarse[..., c], (0, 0), 3)
        for c in range(classes)
    ]
    return softmax(np.stack(blurred).astype(np.float64)).astype(np.float32)


def softmax(scores):
    exponentials = np.exp(scores - scores.max(0))
    return exponentials / exponentials.sum(0)


def pydensecrf(probabilities, image, *, iterations=10, w1=10.0, sxy1=80.0, srgb=13.0, w2=3.0, sxy2=3.0, costs=None):
    """The authors' code. Its `compat` is a number for Potts, or a matrix of costs."""
    authors = pytest.importorskip("pydensecrf.densecrf", reason="it does not build on Python 3.13")
    from pydensecrf.utils import unary_from_softmax

    classes, height, width = probabilities.shape
    crf = authors.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(unary_from_softmax(np.ascontiguousarray(probabilities)))
    compat = {w: w if costs is None else (w * costs).astype(np.float32) for w in (w1, w2)}
    if w2:
        crf.addPairwiseGaussian(sxy=sxy2, compat=compat[w2])
    if w1:
        crf.addPairwiseBilateral(sxy=sxy1, srgb=srgb, rgbim=image, compat=compat[w1])
    return np.array(crf.inference(iterations), dtype=np.float32).reshape(probabilities.shape)


def exact(probabilities, image, *, iterations, w1, sxy1, srgb, w2, sxy2, costs):
    """Mean field with the kernels' full N x N matrices, as the paper defines it (equation 4, algorithm 1), in float64."""
    classes, height, width = probabilities.shape
    rows, columns = np.mgrid[:height, :width]
    place = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
    colour = image.reshape(-1, 3).astype(float)
    kernels = [
        (w1, np.concatenate([place / sxy1, colour / srgb], axis=1)),
        (w2, place / sxy2),
    ]
    matrices = []
    for weight, features in kernels:
        kernel = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(-1))
        root = np.sqrt(kernel.sum(1))
        matrices.append(weight * kernel / root[:, None] / root[None])
    unary = np.log(np.maximum(probabilities.reshape(classes, -1).astype(float), 1e-5))
    marginals = softmax(unary)
    for _ in range(iterations):
        messages = sum(marginals @ matrix for matrix in matrices)
        marginals = softmax(unary - costs @ messages)
    return marginals.reshape(probabilities.shape)
