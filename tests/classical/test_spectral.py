import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph
from sklearn.cluster import KMeans
from sklearn.datasets import make_circles, make_moons

from atrous.classical.graph import Nodes, affinity, laplacian, smallest_eigenvectors
from atrous.classical.normalized_cuts import best_cut, cuts
from atrous.classical.spectral import spectral_clusters
from atrous.errors import ConfigError

KINDS = ("unnormalised", "symmetric", "random_walk")


def nodes(points):
    return Nodes(points, points, np.zeros((1, 1), np.int32))


def same(labels, truth):
    """Whether two labelings are one partition."""
    return len(set(zip(labels, truth, strict=True))) == len(set(labels)) == len(set(truth))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("points", "truth"),
    [make_moons(200, noise=0.04, random_state=0), make_circles(200, factor=0.4, noise=0.03, random_state=0)],
    ids=["moons", "rings"],
)
def test_moons_and_rings_where_k_means_fails(points, truth, kind):
    joined = affinity(nodes(points), gamma=100, squared=True, radius=None)
    assert same(spectral_clusters(joined, kind, 2), truth)
    assert not same(KMeans(2, n_init=10, random_state=0).fit(points).labels_, truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_sparse", [False, True])
def test_the_eigenvalue_0_comes_once_for_each_component(kind, as_sparse):
    rng = np.random.default_rng(0)
    joined = np.zeros((30, 30))
    for start, stop in ((0, 9), (9, 21), (21, 29)):  # and a node by itself
        block = rng.random((stop - start,) * 2)
        joined[start:stop, start:stop] = np.triu(block, 1) + np.triu(block, 1).T
    values, vectors = smallest_eigenvectors(sparse.csr_array(joined) if as_sparse else joined, kind, 6)
    assert (values < 1e-9).sum() == 4
    matrix = laplacian(joined, kind)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-6)


def test_laplacians_are_scipys_and_their_eigenvectors_agree():
    rng = np.random.default_rng(1)
    joined = affinity(nodes(rng.normal(size=(25, 3))), gamma=0.5, squared=False, radius=None)
    np.testing.assert_allclose(laplacian(joined, "unnormalised"), csgraph.laplacian(joined))
    np.testing.assert_allclose(laplacian(joined, "symmetric"), csgraph.laplacian(joined, normed=True), atol=1e-12)
    values, vectors = np.linalg.eig(np.eye(25) - joined / joined.sum(1, keepdims=True))
    order = np.argsort(values.real)[:5]
    found, walk = smallest_eigenvectors(joined, "random_walk", 5)
    np.testing.assert_allclose(found, values.real[order], atol=1e-9)
    cosines = np.abs((walk * vectors.real[:, order] / np.linalg.norm(vectors.real[:, order], axis=0)).sum(0))
    np.testing.assert_allclose(cosines, 1, atol=1e-9)
    _, symmetric = smallest_eigenvectors(joined, "symmetric", 5)
    scaled = walk * np.sqrt(joined.sum(1))[:, None]
    np.testing.assert_allclose(np.abs((scaled / np.linalg.norm(scaled, axis=0) * symmetric).sum(0)), 1, atol=1e-9)


def test_near_nodes_are_joined_by_the_same_weights():
    places = np.random.default_rng(2).random((40, 2)) * 10
    graph = Nodes(np.random.default_rng(3).random((40, 3)), places, np.zeros((1, 1), np.int32))
    every = affinity(graph, gamma=2, squared=False, radius=None)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    expected = np.where((apart <= 3) & (apart > 0), every, 0)
    np.testing.assert_allclose(affinity(graph, gamma=2, squared=False, radius=3).toarray(), expected)
    with pytest.raises(ConfigError, match=r"method\.radius=null.*method\.superpixels"):
        affinity(nodes(np.zeros((4001, 1))), gamma=1, squared=True, radius=None)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_the_best_cut_of_a_graph_of_known_optimum(as_sparse):
    rng = np.random.default_rng(4)
    points = np.concatenate([rng.normal(0, 0.6, (5, 2)), rng.normal(2.5, 0.6, (6, 2))])
    joined = affinity(nodes(points), gamma=0.4, squared=True, radius=None)

    def ncut(side):
        side = np.array(side)
        cut = joined[side][:, ~side].sum()
        return cut / joined[side].sum() + cut / joined[~side].sum()

    sides = (side for side in itertools.product([False, True], repeat=11) if 0 < sum(side) < 11)
    best = min(map(ncut, sides))
    value, beyond = best_cut(sparse.csr_array(joined) if as_sparse else joined)
    assert value == pytest.approx(best)
    assert ncut(beyond) == pytest.approx(best)
    assert same(beyond, [False] * 5 + [True] * 6)


def test_cuts_stop_at_their_limits():
    joined = np.kron(np.eye(4), np.ones((5, 5))) + 0.01
    np.fill_diagonal(joined, 0)
    *_, (labels, _) = cuts(joined, 10, 0.5)
    assert same(labels, np.repeat(range(4), 5))
    *_, (labels, _) = cuts(joined, 3, 2.0)
    assert len(set(labels)) == 3
    assert len(list(cuts(joined, 10, 0.0))) == 1
