"""Krähenbühl, Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials. NIPS 2011.

https://arxiv.org/abs/1210.5644

Every pair of pixels is joined: with the weight `bilateral_weight` where they are near and alike in colour, with
`gaussian_weight` where they are near. Mean-field inference needs the sum over all pixels for each pixel, which is a Gaussian
filter and takes linear time on the permutohedral lattice (`lattice`).

Conventions are those of the authors' code as pydensecrf has it (DIAG_KERNEL, NORMALIZE_SYMMETRIC): each kernel is divided by
the roots of its row sums on both sides, and a pixel's own label is part of its sum. Deviation: the authors' code makes an
unsymmetric compatibility symmetric; here it is refused.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.crf import mean_field
from atrous.crf.mean_field import Kernel
from atrous.errors import ConfigError

Image = NDArray[np.uint8] | Tensor


class DenseCRF:
    """Moves the borders of probabilities to the edges of their image.

    Runs on loops compiled by numba on a CPU with numba installed, else in torch. The loops are compiled at their first use
    on a machine, which takes about 8 s of processor time.

    Args:
        bilateral_weight: Of the kernel in place and colour, from 0 on; 0 leaves it out. The paper's w(1), `compat` of
            pydensecrf's `addPairwiseBilateral`. The defaults are those of pydensecrf's README.
        bilateral_sxy: Its standard deviation in pixels, the paper's theta_alpha.
        bilateral_srgb: Its standard deviation in colour values of 0 to 255, theta_beta.
        gaussian_weight: Of the kernel in place alone, w(2).
        gaussian_sxy: Its standard deviation in pixels, theta_gamma.
        iterations: Updates of all pixels; 0 gives the probabilities back.
        compatibility: (C, C), symmetric: the cost of label l beside label l', multiplied by both weights; may be learned.
            null: the Potts model, 1 off the diagonal.
        least_probability: Smaller probabilities count as this one, so that no label is ruled out for good.
        compiled: null: use numba where it is installed. false: don't. true: don't do without it.

    Raises:
        ConfigError: If a setting is impossible, or numba is asked for and not installed.
    """

    def __init__(
        self,
        *,
        bilateral_weight: float = 10.0,
        bilateral_sxy: float = 80.0,
        bilateral_srgb: float = 13.0,
        gaussian_weight: float = 3.0,
        gaussian_sxy: float = 3.0,
        iterations: int = 10,
        compatibility: Sequence[Sequence[float]] | NDArray[np.floating] | Tensor | None = None,
        least_probability: float = 1e-5,
        compiled: bool | None = None,
    ) -> None:
        for name, weight in (("bilateral_weight", bilateral_weight), ("gaussian_weight", gaussian_weight)):
            if not 0 <= weight < float("inf"):
                raise ConfigError(f"{name}={weight} is impossible; give a number from 0 on. 0 leaves the kernel out.")
        widths = {"bilateral_sxy": bilateral_sxy, "bilateral_srgb": bilateral_srgb, "gaussian_sxy": gaussian_sxy}
        for name, width in widths.items():
            if not 0 < width < float("inf"):
                raise ConfigError(
                    f"{name}={width} is impossible; give a standard deviation above 0, such as {name}=10."
                )
        if not isinstance(iterations, int) or iterations < 0:
            raise ConfigError(f"iterations={iterations} is impossible; give a whole number from 0 on, such as 10.")
        if not 0 < least_probability < 1:
            raise ConfigError(f"least_probability={least_probability} is impossible; give one between 0 and 1: 1e-5.")
        if compiled and not numba_is_installed():
            raise ConfigError('compiled=true needs numba, which is not installed; `pip install "atrous[crf]"`.')
        self.bilateral_weight, self.gaussian_weight = float(bilateral_weight), float(gaussian_weight)
        self.bilateral_sxy, self.bilateral_srgb, self.gaussian_sxy = bilateral_sxy, bilateral_srgb, gaussian_sxy
        self.iterations, self.least_probability, self.compiled = iterations, least_probability, compiled
        self.compatibility = None if compatibility is None else _symmetric(compatibility)

    def __call__(self, probabilities: Tensor, image: Image) -> Tensor:
        """The probabilities after `iterations` updates.

        Args:
            probabilities: (C, H, W) or (N, C, H, W), on any device.
            image: uint8 RGB (H, W, 3) or (N, H, W, 3).

        Returns:
            float32, of the shape and on the device of `probabilities`.

        Raises:
            ValueError: If shapes or types don't fit, or a probability is negative or not a number.
        """
        *_, last = self._run(probabilities, image, every=False)
        return last

    def __str__(self) -> str:
        kernels = []
        if self.bilateral_weight:
            size = f"sxy {self.bilateral_sxy:g}, srgb {self.bilateral_srgb:g}"
            kernels.append(f"bilateral {self.bilateral_weight:g} ({size})")
        if self.gaussian_weight:
            kernels.append(f"Gaussian {self.gaussian_weight:g} (sxy {self.gaussian_sxy:g})")
        model = "Potts" if self.compatibility is None else "given costs"
        return f"dense CRF of {self.iterations} iterations, {model}, {' and '.join(kernels) or 'no kernel'}"

    def iterates(self, probabilities: Tensor, image: Image) -> Iterator[Tensor]:
        """As a call, but yields the probabilities after 0, 1, ... `iterations` updates, one after the other."""
        return self._run(probabilities, image, every=True)

    @torch.no_grad()
    def _run(self, probabilities: Tensor, image: Image, *, every: bool) -> Iterator[Tensor]:
        image = torch.as_tensor(image)
        _check(probabilities, image)
        images = image[None] if image.ndim == 3 else image  # (N, H, W, 3)
        scores = probabilities.detach().float().flatten(-2)  # (N, C, P)
        scores = scores[None] if probabilities.ndim == 3 else scores
        log_probabilities = scores.clamp(min=self.least_probability).log_()
        couplings = self._couplings(scores.shape[1], scores.device)
        if self._by_numba(scores.device):
            steps = self._compiled_steps(log_probabilities, images, couplings, every=every)
        else:
            kernels = [
                Kernel(torch.stack([self._features(one, name, scores.device) for one in images]), coupling)
                for name, coupling in couplings.items()
            ]
            steps = mean_field.mean_field(log_probabilities, kernels, self.iterations)
        for marginals in steps:
            yield marginals.view(probabilities.shape)

    def _compiled_steps(
        self, log_probabilities: Tensor, images: Tensor, couplings: dict[str, float | Tensor], *, every: bool
    ) -> Iterator[Tensor]:
        """One image after the other, or, where every step is wanted, all a step further each time."""
        from atrous.crf import compiled

        def steps(scores: Tensor, image: Tensor) -> Iterator[Tensor]:
            kernels = [Kernel(self._features(image, name, scores.device), part) for name, part in couplings.items()]
            return compiled.mean_field(scores, kernels, self.iterations, every=every)

        pairs = zip(log_probabilities, images, strict=True)
        if every:
            yield from map(torch.stack, zip(*(steps(*pair) for pair in pairs), strict=True))
        else:
            yield torch.stack([marginals for pair in pairs for marginals in steps(*pair)])

    def _by_numba(self, device: torch.device) -> bool:
        if device.type != "cpu" or self.compiled is False:
            return False
        if not numba_is_installed():
            warnings.warn(
                "numba is not installed, so the dense CRF runs in torch, which takes several times as long; "
                '`pip install "atrous[crf]"`.',
                stacklevel=2,
            )
            return False
        return True

    def _couplings(self, classes: int, device: torch.device) -> dict[str, float | Tensor]:
        """What each kernel that is left in adds to the scores.

        Of the Potts model's cost, the sum over the other labels, only the label's own part stays: their total is the same
        for every label, and the softmax cancels it.
        """
        factor = 1.0 if self.compatibility is None else -self.compatibility.to(device)
        if isinstance(factor, Tensor) and (size := len(factor)) != classes:
            raise ValueError(
                f"compatibility is {size} x {size}, but the probabilities are of {classes} classes; give a {classes} x {classes} matrix"
            )
        weights = {"bilateral": self.bilateral_weight, "gaussian": self.gaussian_weight}
        return {name: weight * factor for name, weight in weights.items() if weight}

    def _features(self, image: Tensor, name: str, device: torch.device) -> Tensor:
        """uint8 (H, W, 3) -> (P, 2) or (P, 5), in standard deviations."""
        height, width = image.shape[:2]
        sxy = self.bilateral_sxy if name == "bilateral" else self.gaussian_sxy
        features = torch.empty(height, width, 5 if name == "bilateral" else 2, device=device)
        features[..., 0] = torch.arange(width, device=device) / sxy
        features[..., 1] = torch.arange(height, device=device)[:, None] / sxy
        if name == "bilateral":
            features[..., 2:] = image.to(device) / self.bilateral_srgb
        return features.flatten(0, 1)


@functools.cache
def numba_is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def _symmetric(compatibility: Sequence[Sequence[float]] | NDArray[np.floating] | Tensor) -> Tensor:
    matrix = torch.as_tensor(compatibility, dtype=torch.float32)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConfigError(
            f"compatibility has the shape {tuple(matrix.shape)}; give a square matrix, a cost for each pair of classes."
        )
    if not torch.isfinite(matrix).all():
        raise ConfigError(
            "compatibility holds numbers that are not finite; give a finite cost for each pair of classes."
        )
    if not torch.allclose(matrix, matrix.T):
        row, column = divmod(int((matrix - matrix.T).abs().argmax()), len(matrix))
        raise ConfigError(
            f"compatibility is not symmetric: {matrix[row, column]:.4g} at ({row}, {column}), {matrix[column, row]:.4g} at "
            f"({column}, {row}). Give a symmetric one, such as (m + m.T) / 2."
        )
    return matrix


def _check(probabilities: Tensor, image: Tensor) -> None:
    if probabilities.ndim not in (3, 4) or 0 in probabilities.shape:
        raise ValueError(f"probabilities have the shape {tuple(probabilities.shape)}; give (C, H, W) or (N, C, H, W)")
    expected = (*probabilities.shape[:-3], *probabilities.shape[-2:], 3)
    if image.dtype != torch.uint8 or image.shape != expected:
        raise ValueError(
            f"image is {image.dtype} of the shape {tuple(image.shape)}; beside probabilities of {tuple(probabilities.shape)} give "
            f"uint8 RGB of {expected}"
        )
    if not probabilities.min() >= 0:  # NaN fails too
        raise ValueError(
            f"probabilities go down to {float(probabilities.min()):.4g}; give softmax's result, not logits"
        )
