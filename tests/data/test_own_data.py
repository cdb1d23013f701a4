"""Every kind of data set is read as it is, or refused with what is wrong: none is read wrongly in silence."""

import own_data
import pytest


@pytest.mark.parametrize("name", own_data.KINDS)
def test_what_comes_of_it(name, tmp_path, capfd):
    kind = own_data.KINDS[name]
    outcome = own_data.read(kind, tmp_path)
    if kind.refused:
        assert outcome.message is not None, outcome
        for part in kind.refused:
            assert part in outcome.message
        return
    assert outcome.message is None, outcome.message
    assert outcome.samples == kind.samples
    assert outcome.differs <= kind.edges * outcome.samples
    assert outcome.aligned == 1 or not outcome.found
    assert capfd.readouterr() == ("", "")
