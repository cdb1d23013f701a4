import itertools

import numpy as np
import pytest
import torch
from crf_reference import exact, pydensecrf, scene, uncertain

from atrous.crf import dense_crf
from atrous.crf.dense_crf import DenseCRF
from atrous.data.camvid import CamVid
from atrous.errors import ConfigError

both = pytest.mark.parametrize("compiled", [True, False], ids=["numba", "torch"])


def run(crf, probabilities, image):
    return crf(torch.from_numpy(probabilities), image).numpy()


def symmetric(classes, seed=0):
    costs = np.random.default_rng(seed).uniform(0, 1, (classes, classes)).astype(np.float32)
    costs = (costs + costs.T) / 2
    np.fill_diagonal(costs, 0)
    return costs


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert (ours.argmax(0) == theirs.argmax(0)).mean() >= 0.999


@both
@pytest.mark.parametrize("iterations", [0, 1, 2, 10])
def test_equals_the_authors_code(compiled, iterations):
    image, probabilities = scene()
    ours = run(DenseCRF(iterations=iterations, compiled=compiled), probabilities, image)
    assert_same(ours, pydensecrf(probabilities, image, iterations=iterations))


@both
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"bilateral_weight": 0}, {"w1": 0}),
        ({"gaussian_weight": 0}, {"w2": 0}),
        ({"bilateral_sxy": 7.5, "bilateral_srgb": 3, "gaussian_sxy": 1}, {"sxy1": 7.5, "srgb": 3, "sxy2": 1}),
        ({"bilateral_weight": 4, "gaussian_weight": 30}, {"w1": 4, "w2": 30}),
    ],
)
def test_each_setting_means_what_it_means_in_the_authors_code(compiled, ours, theirs):
    image, probabilities = scene(seed=1)
    result = run(DenseCRF(**ours, iterations=4, compiled=compiled), probabilities, image)
    assert_same(result, pydensecrf(probabilities, image, iterations=4, **theirs))
    assert np.abs(result - run(DenseCRF(iterations=4), probabilities, image)).max() > 0.01


@both
def test_a_compatibility_matrix_is_one_of_costs(compiled):
    image, probabilities = scene(seed=2)
    costs = symmetric(11)
    ours = run(DenseCRF(compatibility=costs, iterations=5, compiled=compiled), probabilities, image)
    assert_same(ours, pydensecrf(probabilities, image, iterations=5, costs=costs))


@both
def test_the_potts_matrix_is_the_default(compiled):
    image, probabilities = scene()
    matrix = run(DenseCRF(compatibility=1 - np.eye(11), iterations=3, compiled=compiled), probabilities, image)
    np.testing.assert_allclose(matrix, run(DenseCRF(iterations=3), probabilities, image), atol=1e-5)


def test_equals_the_authors_code_on_camvid(camvid_root):
    image, mask, _ = CamVid(root=camvid_root, split="val")[50]
    probabilities = uncertain(mask)
    assert_same(run(DenseCRF(), probabilities, image), pydensecrf(probabilities, image))


@both
def test_a_noisy_image_has_more_vertices_than_the_table_begins_with(compiled):
    image = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    probabilities = uncertain(np.zeros((90, 80), np.uint8), classes=3)
    ours = run(DenseCRF(bilateral_sxy=5, bilateral_srgb=2, compiled=compiled), probabilities, image)
    assert_same(ours, pydensecrf(probabilities, image, sxy1=5, srgb=2))


@both
def test_approximates_the_definition_with_every_pair_of_pixels(compiled):
    image, probabilities = scene(size=(32, 33), seed=3, classes=4)
    settings = {"iterations": 5, "w1": 3.0, "sxy1": 8.0, "srgb": 20.0, "w2": 1.0, "sxy2": 2.0}
    costs = symmetric(4)
    crf = DenseCRF(
        bilateral_weight=3,
        bilateral_sxy=8,
        bilateral_srgb=20,
        gaussian_weight=1,
        gaussian_sxy=2,
        iterations=5,
        compatibility=costs,
        compiled=compiled,
    )
    expected = exact(probabilities, image, costs=costs, **settings)
    ours = run(crf, probabilities, image)
    # What the lattice loses is small beside what the CRF changes.
    changed = np.abs(probabilities - expected).mean()
    assert np.abs(ours - expected).mean() < 0.1 * changed
    assert (ours.argmax(0) == expected.argmax(0)).mean() > 0.98


@both
def test_the_order_of_the_classes_does_not_matter(compiled):
    image, probabilities = scene(seed=4)
    order = np.random.default_rng(0).permutation(11)
    costs = symmetric(11)
    ours = run(DenseCRF(compatibility=costs, iterations=3, compiled=compiled), probabilities, image)
    crf = DenseCRF(compatibility=costs[order][:, order], iterations=3, compiled=compiled)
    np.testing.assert_allclose(run(crf, probabilities[order], image), ours[order], atol=1e-5)


@both
def test_a_batch_is_its_images_one_by_one(compiled):
    images, probabilities = (np.stack(parts) for parts in zip(*(scene(seed=seed) for seed in range(3)), strict=True))
    crf = DenseCRF(iterations=3, compiled=compiled)
    together = run(crf, probabilities, images)
    for index in range(3):
        np.testing.assert_allclose(together[index], run(crf, probabilities[index], images[index]), atol=1e-5)
    steps = list(crf.iterates(torch.from_numpy(probabilities), images))
    assert [step.shape for step in steps] == [probabilities.shape] * 4
    np.testing.assert_allclose(steps[-1].numpy(), together, atol=1e-6)


@both
def test_iterates_are_what_fewer_iterations_give(compiled):
    image, probabilities = scene(seed=5)
    steps = DenseCRF(iterations=4, compiled=compiled).iterates(torch.from_numpy(probabilities), image)
    kept = list(steps)  # a later step leaves an earlier one as it was
    assert len(kept) == 5
    for iterations, step in enumerate(kept):
        alone = run(DenseCRF(iterations=iterations, compiled=compiled), probabilities, image)
        np.testing.assert_allclose(step.numpy(), alone, atol=1e-6)
    assert all((left - right).abs().max() > 1e-3 for left, right in itertools.pairwise(kept))


def test_numba_and_torch_agree():
    image, probabilities = scene(size=(120, 151), seed=6)
    results = [run(DenseCRF(compiled=compiled), probabilities, image) for compiled in (True, False)]
    np.testing.assert_allclose(*results, atol=1e-4)


def test_threads_do_not_change_the_result():
    image, probabilities = scene(size=(190, 201), seed=7)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(DenseCRF(), probabilities, image))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-5)


@both
def test_no_iterations_give_the_probabilities_back(compiled):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(13, 0.05), (20, 31)).transpose(2, 0, 1).astype(np.float32)
    image = np.zeros((20, 31, 3), np.uint8)
    clipped = np.maximum(probabilities.astype(float), 1e-5)
    ours = run(DenseCRF(iterations=0, compiled=compiled), probabilities, image)
    np.testing.assert_allclose(ours, clipped / clipped.sum(0), rtol=1e-5)
    alone = run(DenseCRF(bilateral_weight=0, gaussian_weight=0, compiled=compiled), probabilities, image)
    np.testing.assert_allclose(alone, ours, rtol=1e-5)


@both
@pytest.mark.parametrize(("classes", "size"), [(1, (9, 12)), (2, (17, 5)), (8, (6, 7)), (150, (11, 13)), (3, (1, 1))])
def test_any_number_of_classes_and_any_size(compiled, classes, size):
    rng = np.random.default_rng(classes)
    probabilities = rng.dirichlet(np.ones(classes), size).transpose(2, 0, 1).astype(np.float32)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = run(DenseCRF(iterations=3, compiled=compiled), probabilities, image)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.sum(0), 1, atol=1e-5)
    assert_same(ours, pydensecrf(probabilities, image, iterations=3))


@both
def test_an_image_of_one_colour_only_smooths(compiled):
    probabilities = uncertain(np.zeros((30, 40), np.uint8), classes=4)
    images = [np.full((30, 40, 3), value, np.uint8) for value in (0, 255)]
    results = [run(DenseCRF(iterations=2, compiled=compiled), probabilities, image) for image in images]
    np.testing.assert_allclose(*results, atol=1e-3)
    assert_same(results[0], pydensecrf(probabilities, images[0], iterations=2))


def test_without_numba_torch_takes_over_and_says_so(monkeypatch):
    image, probabilities = scene(size=(32, 40))
    expected = run(DenseCRF(), probabilities, image)
    monkeypatch.setattr(dense_crf, "numba_is_installed", lambda: False)
    with pytest.warns(UserWarning, match=r"pip install \"atrous\[crf\]\""):
        ours = run(DenseCRF(), probabilities, image)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    with pytest.raises(ConfigError, match="compiled=true needs numba"):
        DenseCRF(compiled=True)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bilateral_weight": -1}, "bilateral_weight=-1 is impossible; give a number from 0"),
        ({"gaussian_weight": float("nan")}, "gaussian_weight=nan is impossible"),
        ({"bilateral_srgb": 0}, "bilateral_srgb=0 is impossible; give a standard deviation above 0"),
        ({"gaussian_sxy": float("inf")}, "gaussian_sxy=inf is impossible"),
        ({"iterations": 2.5}, "iterations=2.5 is impossible; give a whole number"),
        ({"least_probability": 0}, "least_probability=0 is impossible"),
        ({"compatibility": np.zeros((2, 3))}, r"the shape \(2, 3\); give a square matrix"),
        ({"compatibility": [[0, 1], [2, 0]]}, r"not symmetric: 1 at \(0, 1\), 2 at \(1, 0\)"),
        ({"compatibility": [[0, np.nan], [np.nan, 0]]}, "not finite"),
    ],
)
def test_impossible_settings_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        DenseCRF(**settings)


@both
@pytest.mark.parametrize(
    ("settings", "shape", "change", "image", "told"),
    [
        ({}, (6, 7), None, np.zeros((6, 7, 3), np.uint8), r"probabilities have the shape \(6, 7\)"),
        ({}, (3, 6, 7), None, np.zeros((7, 6, 3), np.uint8), r"give uint8 RGB of \(6, 7, 3\)"),
        ({}, (3, 6, 7), None, np.zeros((6, 7, 3), np.float32), "image is torch.float32"),
        ({}, (3, 6, 7), -1.5, np.zeros((6, 7, 3), np.uint8), "go down to -1.5; give softmax's result"),
        ({}, (3, 6, 7), np.nan, np.zeros((6, 7, 3), np.uint8), "go down to nan"),
        (
            {"compatibility": np.zeros((2, 2))},
            (3, 6, 7),
            None,
            np.zeros((6, 7, 3), np.uint8),
            "2 x 2, but .* 3 classes",
        ),
        (
            {"bilateral_srgb": 1e-3},
            (3, 6, 7),
            None,
            np.arange(126, dtype=np.uint8).reshape(6, 7, 3),
            "standard deviations of the kernel wide, .* larger sxy or srgb",
        ),
    ],
)
def test_what_does_not_fit_is_refused(compiled, settings, shape, change, image, told):
    probabilities = torch.full(shape, 1 / 3)
    if change is not None:
        probabilities[1, 2, 3] = change
    with pytest.raises(ValueError, match=told):
        DenseCRF(**settings, compiled=compiled)(probabilities, image)
