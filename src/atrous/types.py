"""The plain data that the parts of atrous hand to each other. Imports nothing of ours, and torch only for type checkers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

IGNORE_INDEX = 255


@dataclass(frozen=True)
class ClassInfo:
    """What a dataset's class indices mean.

    Args:
        names: One name per class; its length is `num_classes`.
        palette: One (R, G, B) colour per class, 0 to 255.
        ignore_index: The mask value of pixels that neither train nor score.
        things: Indices of countable classes; the others are stuff.
        ids: What each class is called in the data set's own label files, which is what its benchmark's server expects
            of predictions, 0 to 65535. Empty: the class indices.

    Raises:
        ValueError: If names repeat, the lengths of palette or ids differ, or `ignore_index` is a class.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int = IGNORE_INDEX
    things: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Plain tuples of plain numbers, whatever was given: checkpoints hold nothing else.
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "palette", tuple((int(r), int(g), int(b)) for r, g, b in self.palette))
        object.__setattr__(self, "things", tuple(map(int, self.things)))
        object.__setattr__(self, "ids", tuple(map(int, self.ids)) or tuple(range(len(self.names))))
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class names repeat: {self.names}")
        if len(self.palette) != len(self.names):
            raise ValueError(
                f"{len(self.names)} class names but {len(self.palette)} palette colours; give one colour per class"
            )
        if len(self.ids) != len(self.names):
            raise ValueError(f"{len(self.names)} class names but {len(self.ids)} ids; give one id per class")
        if 0 <= self.ignore_index < len(self.names):
            raise ValueError(
                f"ignore_index {self.ignore_index} is the class {self.names[self.ignore_index]!r}; choose one outside 0 to {len(self.names) - 1}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.names)

    def with_void(self) -> ClassInfo:
        """What the labels of a network with a void output mean: one more, black, that files have as `ignore_index`.

        Where that is a class's id, files have another value, the highest free one of 8 bits.
        """
        name = "void" if "void" not in self.names else "void of the network"
        values = (self.ignore_index, *range(255, -1, -1), *range(256, 65536))
        void = next(value for value in values if value >= 0 and value not in self.ids)
        ignored = -1 if self.ignore_index == self.num_classes else self.ignore_index
        palette, ids = (*self.palette, (0, 0, 0)), (*self.ids, void)
        return ClassInfo((*self.names, name), palette, ignored, self.things, ids)


class RawSample(NamedTuple):
    """One image and its mask as a dataset reads them, before any transform."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    mask: NDArray[np.uint8] | NDArray[np.int32]  # (H, W), class indices or ignore_index
    name: str  # stable, unique within the split, path-like


class SegmentationDataset(Protocol):
    """What the DataModule asks of a dataset: a length, random access, and what its classes are."""

    class_info: ClassInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample: ...


class Sample(TypedDict):
    """One item of a batch, as the network sees it."""

    image: Tensor  # float32 (3, H, W), normalised
    mask: Tensor  # int64 (H, W), class indices or ignore_index
    name: str
    index: int


class Batch(TypedDict):
    """Collated samples."""

    image: Tensor  # float32 (N, 3, H, W)
    mask: Tensor  # int64 (N, H, W)
    name: list[str]
    index: Tensor  # int64 (N,)


class SegOutput(NamedTuple):
    """What every model returns, in train and eval."""

    logits: Tensor  # (N, C, h, w); with a void output (N, C + 1, h, w)
    aux: tuple[Tensor, ...] = ()  # auxiliary heads' logits, each (N, C, h', w')


def has_void_output(model: object) -> bool:
    """Whether a network has one output more than its data has classes, the last one, for void.

    It says so by an attribute `void_output`. Void is no target: masks have `ignore_index` there, which neither trains nor
    scores. But a network may label a pixel of a class void (label C), and that counts as wrong.
    """
    return bool(getattr(model, "void_output", False))
