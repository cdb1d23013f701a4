from pathlib import Path
from typing import Annotated, Literal

import pytest

from atrous.config.values import NonNegativeInt, NotEmpty, PositiveInt, Range, Size, checked
from atrous.errors import ConfigError

Rates = Annotated[list[float], NotEmpty()]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, PositiveInt, 3),
        (0, NonNegativeInt, 0),
        (3, float, 3),
        ("a", Path, Path("a")),
        (None, Path | None, None),
        ([4, 8], Size, (4, 8)),
        ([[4, 8]], list[Size], [(4, 8)]),
        ("train", Literal["train", "val"], "train"),
        (["a"], str | list[str], ["a"]),
        ([], list[PositiveInt], []),
    ],
)
def test_possible_values(value, kind, expected):
    assert checked("key", value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind", "parts"),
    [
        (True, PositiveInt, ["key=true", "a whole number from 1 on"]),
        (1.0, PositiveInt, ["key=1.0 "]),
        (False, float, ["key=false", "a number"]),
        (-0.5, Annotated[float, Range(0)], ["key=-0.5", "from 0 on"]),
        (24, Annotated[int, Range(18, 23)], ["key=24", "from 18 to 23"]),
        (1, bool, ["key=1", "true or false"]),
        ("dev", Literal["train", "val"] | None, ["key=dev", "one of train, val, or null"]),
        ([4], Size, ["key=[4]", "[height,width]"]),
        ([4, 0], Size, ["key=[4,0]"]),
        (4, Rates, ["key=4", "a list, each a number"]),
        ([], Rates, ["key=[]", "not empty"]),
        ([True], Rates, ["key=[true]"]),
    ],
)
def test_impossible_values(value, kind, parts):
    with pytest.raises(ConfigError) as error:
        checked("key", value, kind, example=[7])
    assert all(part in str(error.value) for part in [*parts, "'key=[7]'"])
