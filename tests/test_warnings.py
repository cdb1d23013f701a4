"""A deprecation that a call of ours raises fails a test, at the filters of `pyproject.toml`."""

import warnings

import pytest

CALLS = """
import warnings

def library(text, category):
    warnings.warn(text, category, stacklevel=2)  # as libraries do, so that it points at the caller

def ours(text, category):
    library(text, category)
"""


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
@pytest.mark.parametrize("module", ["atrous", "atrous.losses.strips", "hydra_plugins.atrous_search"])
def test_a_warning_that_points_at_our_code_is_an_error(module, category):
    names = {"__name__": module}
    exec(CALLS, names)
    with pytest.raises(category, match="old"):
        names["ours"]("old", category)
    names["ours"]("`broadcast_buffers` is deprecated. Use another.", category)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names["ours"]("`broadcast_buffers` is deprecated. Use another.", category)
    assert len(caught) == 1


def test_a_warning_of_others_among_themselves_is_none():
    names = {"__name__": "somebody.else"}
    exec(CALLS, names)
    names["ours"]("old", DeprecationWarning)
