import pytest

from atrous.types import ClassInfo

TWO = {"names": ("road", "car"), "palette": ((0, 0, 0), (1, 1, 1))}


def test_ids_are_the_class_indices_unless_given():
    assert ClassInfo(**TWO).ids == (0, 1)
    assert ClassInfo(**TWO, ids=(7, 26)).ids == (7, 26)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("road", "road")}, "class names repeat"),
        ({"palette": ((0, 0, 0),)}, "2 class names but 1 palette colours"),
        ({"ids": (7,)}, "2 class names but 1 ids"),
        ({"ignore_index": 1}, "ignore_index 1 is the class 'car'"),
    ],
)
def test_what_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ClassInfo(**{**TWO, **change})
