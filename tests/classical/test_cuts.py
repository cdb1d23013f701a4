import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from atrous.classical.cuts import Edges, alpha_expansion, binary_cut, energy, grid
from atrous.classical.graph_cut import GraphCut
from atrous.classical.seeds import UNMARKED, drawn
from atrous.cli import predict
from atrous.errors import ConfigError

BLUE_ON_RED = np.full((40, 50, 3), (200, 40, 40), np.uint8)
BLUE_ON_RED[10:30, 15:40] = (40, 40, 200)
BLUE_ON_RED = np.clip(BLUE_ON_RED + np.random.default_rng(0).normal(0, 25, BLUE_ON_RED.shape), 0, 255).astype(np.uint8)
TRUTH = np.zeros((40, 50), np.int32)
TRUTH[10:30, 15:40] = 1


def cut(**settings):
    kept = {"side": None, "scribbles": 2, "scribble_radius": 2, "seed": 0, "colour_weight": 1.0, "smoothness": 5.0}
    return GraphCut(**{**kept, "neighbours": 8, "fixed": True, "rounds": 1, "cycles": 3, **settings})


def problem(seed, size, labels, neighbours=4):
    rng = np.random.default_rng(seed)
    edges = grid(rng.random((*size, 3)), neighbours=neighbours, weight=1.5)
    return rng.normal(size=(size[0] * size[1], labels)), edges


def least(unary, edges):
    every = itertools.product(range(unary.shape[1]), repeat=len(unary))
    return min(energy(unary, edges, np.array(labels)) for labels in every)


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("seed", range(4))
def test_two_labels_have_the_least_energy_of_all(seed, neighbours):
    unary, edges = problem(seed, (3, 4), 2, neighbours)
    assert len(edges.i) == {4: 17, 8: 29}[neighbours]
    assert energy(unary, edges, binary_cut(unary, edges)) == pytest.approx(least(unary, edges), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_alpha_expansion_never_raises_the_energy(seed):
    unary, edges = problem(seed, (2, 4), 3)
    steps = list(alpha_expansion(unary, edges, cycles=10))
    energies = [value for _, value in steps]
    assert all(after < before for before, after in itertools.pairwise(energies))
    assert energies == pytest.approx([energy(unary, edges, labels) for labels, _ in steps])
    best = least(unary - unary.min(), edges)
    assert best - 1e-6 <= energies[-1] - unary.min() * len(unary) <= 2 * best
    moves = [
        np.where(np.array(move), alpha, steps[-1][0])
        for alpha in range(3)
        for move in itertools.product([0, 1], repeat=8)
    ]
    assert min(energy(unary, edges, labels) for labels in moves) >= energies[-1] - 1e-5, "no expansion helps any more"


def test_two_labels_by_alpha_expansion_are_exact_and_edges_part_colours():
    unary, edges = problem(9, (3, 3), 2)
    *_, (_, reached) = alpha_expansion(unary, edges, cycles=1)
    assert reached == pytest.approx(least(unary, edges), abs=1e-5)
    step = grid(np.array([[[0.0], [0.0], [1.0]]]), neighbours=8, weight=2.0)
    assert step == Edges(*(pytest.approx(part) for part in ([0, 1], [1, 2], [2.0, 2 * np.exp(-1)])))


@pytest.mark.parametrize("rounds", [1, 3])
def test_seeds_label_their_objects(rounds):
    seeds = np.full(TRUTH.shape, UNMARKED, np.int32)
    seeds[2:4, 2:20], seeds[18:20, 20:30] = 7, 3
    labels = cut(rounds=rounds)(BLUE_ON_RED, seeds)
    assert (labels == np.where(TRUTH, 3, 7)).mean() > 0.99


def test_it_agrees_with_opencvs_grabcut():
    seeds = drawn(TRUTH, 2, 2, ignore_index=255, seed=1)
    mask = np.where(seeds == UNMARKED, cv2.GC_PR_BGD, np.where(seeds == 1, cv2.GC_FGD, cv2.GC_BGD)).astype(np.uint8)
    cv2.grabCut(BLUE_ON_RED, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    theirs = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD))
    assert (cut(rounds=5)(BLUE_ON_RED, seeds) == theirs).mean() > 0.99


def test_seeds_stay_only_where_they_are_fixed():
    seeds = drawn(TRUTH, 3, 2, ignore_index=255, seed=0)
    seeds[0, 0] = 1  # wrong
    fixed, free = (cut(fixed=fixed)(BLUE_ON_RED, seeds) for fixed in (True, False))
    np.testing.assert_array_equal(fixed[seeds != UNMARKED], seeds[seeds != UNMARKED])
    assert free[0, 0] == 0
    assert (cut(colour_weight=0)(BLUE_ON_RED, seeds)[seeds != UNMARKED] == seeds[seeds != UNMARKED]).all()


def test_seeds_are_drawn_inside_each_class_and_survive_a_smaller_size():
    truth = TRUTH.copy()
    truth[:3, :3], truth[39, 49] = 255, 5
    seeds = drawn(truth, 3, 2, ignore_index=255, seed=0)
    assert set(np.unique(seeds)) == {UNMARKED, 0, 1, 5}
    marked = seeds != UNMARKED
    np.testing.assert_array_equal(seeds[marked], truth[marked])
    assert set(np.unique(cut(side=10)(BLUE_ON_RED, seeds))) >= {0, 1}


def test_seeds_that_cannot_be_used(capsys, tmp_path):
    one = np.full(TRUTH.shape, 4, np.int32)
    with pytest.raises(ConfigError, match=r"label 4 alone.*two labels"):
        cut()(BLUE_ON_RED, one)
    with pytest.raises(ConfigError, match=r"none.*two labels"):
        cut()(BLUE_ON_RED, np.full_like(one, UNMARKED))
    with pytest.raises(ConfigError, match=r"3 x 3 .*40 x 50"):
        cut()(BLUE_ON_RED, one[:3, :3])
    with pytest.raises(ConfigError, match="scribbles=FILE"):
        cut()(BLUE_ON_RED)


def test_predict_reads_scribbles(tmp_path, capsys):
    Image.fromarray(BLUE_ON_RED).save(tmp_path / "photo.png")
    marks = np.full(TRUTH.shape, 255, np.uint8)
    marks[2:4, 2:20], marks[18:20, 20:30] = 0, 9
    (tmp_path / "marks").mkdir()
    Image.fromarray(marks).save(tmp_path / "marks" / "photo.png")
    words = [f"images={tmp_path / 'photo.png'}", f"out={tmp_path / 'out'}", f"scribbles={tmp_path / 'marks'}"]
    predict.main(["method=grabcut", *words, "iterates=true"])
    labels = np.array(Image.open(tmp_path / "out" / "labels" / "photo.png"))
    assert (labels == np.where(TRUTH, 9, 0)).mean() > 0.99
    for method, extra, part in (("slic", [], "takes no seeds"), ("grabcut", ["scribbles=absent.png"], "absent.png")):
        with pytest.raises(SystemExit):
            predict.main([f"method={method}", *words, *extra])
        assert part in capsys.readouterr().err


def test_settling_clear_pixels_before_changes_nothing():
    for seed in range(5):
        unary, edges = problem(seed, (3, 4), 2)
        *_, (labels, reached) = alpha_expansion(4 * unary, edges, cycles=2)
        assert reached == pytest.approx(least(4 * unary, edges), abs=1e-5)
        assert reached == pytest.approx(energy(4 * unary, edges, labels))
