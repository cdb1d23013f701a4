import os

import pytest

from atrous.errors import DataError
from atrous.system.devices import cores
from atrous.system.pool import in_processes, in_threads


@pytest.mark.parametrize("form", [in_threads, in_processes])
@pytest.mark.parametrize("count", [0, 3, 500])
def test_results_come_in_order(form, count):
    assert list(form(lambda index: index * index, range(count), description="")) == [i * i for i in range(count)]


def test_many_are_read_in_other_processes_and_few_in_this_one():
    here = os.getpid()
    assert {*in_processes(lambda index: os.getpid(), range(50), description="")} == {here}
    assert here not in {*in_processes(lambda index: os.getpid(), range(500), description="")}


@pytest.mark.parametrize("form", [in_threads, in_processes])
def test_the_first_error_in_order_is_raised(form):
    def read(index):
        if index in (220, 400):
            raise DataError(f"file {index} is bad")
        return index

    read_before = []
    with pytest.raises(DataError, match="file 220 is bad"):
        read_before.extend(form(read, range(500), description=""))


@pytest.mark.parametrize("form", [in_threads, in_processes])
def test_few_results_wait_at_any_time(form, tmp_path):
    def read(index):
        (tmp_path / str(index)).touch()
        return index

    results = form(read, range(500), description="")
    for _ in range(10):
        next(results)
    assert len(list(tmp_path.iterdir())) <= 10 + 2 * cores() + 3
    results.close()
