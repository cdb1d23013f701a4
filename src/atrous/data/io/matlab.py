"""Label maps in Matlab's files, as SBD and COCO-Stuff 10k publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError


def read_matlab(path: Path) -> NDArray[Any]:
    """Reads the label map of an SBD file (`GTcls.Segmentation`) or a COCO-Stuff 10k one (`S`).

    Args:
        path: A file of Matlab's version 5 format, compressed or not.

    Returns:
        (H, W) of integers; doubles, Matlab's default, become int64.

    Raises:
        DataError: If there is no such file, it is damaged, or it holds no label map.
    """
    from scipy.io import loadmat  # a quarter of a second that other data sets need not wait for

    try:
        with path.open("rb") as file:
            content = loadmat(file, variable_names=("GTcls", "S"))
    except FileNotFoundError as error:
        message = f"no file {path}. Copy it there, or leave it out of the list."
        raise DataError(message, kind="missing", path=path) from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise DataError(
            f"{path} is no complete Matlab file of version 5: {error}. Copy it again, or save it with Matlab's "
            "save(..., '-v7').",
            kind="damaged",
            path=path,
        ) from error
    labels = content.get("S")
    if "GTcls" in content and "Segmentation" in (content["GTcls"].dtype.names or ()):
        labels = content["GTcls"]["Segmentation"][0, 0]
    if labels is None:
        raise DataError(
            f"{path} holds neither GTcls.Segmentation (SBD) nor S (COCO-Stuff 10k); expected a label map of one of them. "
            "SBD's are those in its folder cls.",
            kind="no label map",
            path=path,
        )
    labels = np.asarray(labels)
    whole = labels.astype(np.int64) if labels.dtype.kind == "f" else labels
    if labels.ndim != 2 or labels.dtype.kind not in "buif" or (labels.size and (whole != labels).any()):
        raise DataError(
            f"{path}: its label map is {labels.dtype} of shape {labels.shape}; expected whole numbers of shape "
            "(height, width). Copy the file again.",
            kind="no label map",
            path=path,
        )
    return whole
