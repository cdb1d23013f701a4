"""All that the analysis of one network finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from atrous.analysis.checkerboard import checkerboards
from atrous.analysis.effective_field import SHARE, EffectiveField, effective_field
from atrous.analysis.receptive_field import Fields, receptive_fields
from atrous.analysis.valid_weights import AtrousConvs, atrous_convs, wide_rates


@dataclass(frozen=True)
class Analysis:
    """What a network sees.

    Args:
        name: Of the network.
        size: Height and width of the images.
        fields: The theoretical receptive fields.
        convs: The atrous convolutions on images of the size.
        checkerboards: Of each transposed convolution.
        effective: The effective receptive field of the logits; None where there were no images.
        warning: Of rates as large as their map; None where there are none.
    """

    name: str
    size: tuple[int, int]
    fields: Fields
    convs: list[AtrousConvs]
    checkerboards: dict[str, float]
    effective: EffectiveField | None
    warning: str | None

    def as_json(self) -> dict[str, Any]:
        field = self.effective
        return {
            "size": self.size,
            "receptive_fields": [asdict(part) for part in self.fields.parts],
            "unknown_operations": self.fields.unknown,
            "atrous_convolutions": [asdict(c) | {"degenerate": c.degenerate} for c in self.convs],
            "checkerboards": self.checkerboards,
            "effective_field": field
            and {"size": field.size, "deviation": field.deviation, "above_share_of_maximum": SHARE},
        }


def analyse(
    model: nn.Module, size: tuple[int, int], images: Iterable[Tensor] | None, *, name: str, seed: int = 0
) -> Analysis:
    """Analyses a network.

    Args:
        model: Returns a SegOutput.
        size: Height and width of the images.
        images: Normalised images (3, *size) for the effective field; None: it isn't measured.
        name: Of the network.
        seed: Of the effective field's signs.
    """
    return Analysis(
        name=name,
        size=size,
        fields=receptive_fields(model),
        convs=atrous_convs(model, size),
        checkerboards=checkerboards(model),
        effective=None if images is None else effective_field(model, images, seed=seed),
        warning=wide_rates(model, size),
    )
