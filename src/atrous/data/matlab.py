"""Label maps in Matlab's files, as SBD and COCO-Stuff 10k publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError


def read_matlab(path: Path) -> NDArray[Any]:
    """Reads the label map (H, W) of an SBD file (`GTcls.Segmentation`) or a COCO-Stuff 10k one (`S`).

    Raises:
        DataError: If there is no such file, or it holds neither.
    """
    from scipy.io import loadmat  # a quarter of a second that other data sets need not wait for
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=("GTcls", "S"))
    except FileNotFoundError as error:
        raise DataError(f"no file {path}. Copy it there, or leave it out of the list.") from error
    except (MatReadError, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise DataError(f"{path} is no complete Matlab file (version 5): {error}. Copy it again.") from error
    labels = content["GTcls"].Segmentation if "GTcls" in content else content.get("S")
    if labels is None:
        raise DataError(
            f"{path} holds neither GTcls (SBD) nor S (COCO-Stuff 10k); expected a label map of one of them."
        )
    return np.asarray(labels)
