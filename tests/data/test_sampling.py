import numpy as np
import pytest

from atrous.data.sampling import EvalSampler, TrainSampler, Transformed
from atrous.data.transforms import TrainTransform
from atrous.types import ClassInfo, RawSample


def batches(sampler, size):
    keys = list(sampler)
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def test_an_order_is_a_function_of_seed_and_epoch():
    sampler, other = (TrainSampler(length=50, step_size=5, seed=3) for _ in range(2))
    sampler.set_epoch(7)
    first = list(sampler)
    assert list(sampler) == first
    assert first != list(other)
    other.set_epoch(7)
    assert first == list(other)
    assert first != list(TrainSampler(length=50, step_size=5, seed=4))
    assert {epoch for epoch, _ in first} == {7}
    assert sorted(index for _, index in first) == list(range(50))
    assert [index for _, index in first] != list(range(50))


def test_an_epoch_is_cut_to_whole_steps_and_leaves_out_others_each_time():
    sampler = TrainSampler(length=23, step_size=5, seed=0)
    assert len(sampler) == len(list(sampler)) == 20
    left_out = set()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        left_out |= set(range(23)) - {index for _, index in sampler}
    assert left_out == set(range(23))


@pytest.mark.parametrize(("world_size", "accumulated"), [(2, 1), (3, 1), (1, 4), (2, 3)])
def test_the_ranks_batches_together_are_those_of_one_process(world_size, accumulated):
    total, length = 12, 31
    per_device = total // (world_size * accumulated)
    whole = batches(TrainSampler(length=length, step_size=total, seed=1), total)
    samplers = [
        TrainSampler(length=length, step_size=total, seed=1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    parts = [batches(sampler, per_device) for sampler in samplers]
    assert all(len(sampler) == len(list(sampler)) for sampler in samplers)
    assert {len(part) for part in parts} == {len(whole) * accumulated}
    for step, expected in enumerate(whole):
        micro = [part[step * accumulated + number] for part in parts for number in range(accumulated)]
        assert sorted(key for batch in micro for key in batch) == sorted(expected)
    micro_whole = batches(TrainSampler(length=length, step_size=total, seed=1), per_device * world_size)
    for number, expected in enumerate(micro_whole):
        assert sorted(key for part in parts for key in part[number]) == sorted(expected)


@pytest.mark.parametrize(("length", "world_size"), [(10, 1), (10, 3), (2, 4), (0, 2)])
def test_evaluation_sees_every_sample_once(length, world_size):
    samplers = [EvalSampler(length=length, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert all(len(sampler) == len(list(sampler)) for sampler in samplers)
    assert sorted(key for sampler in samplers for key in sampler) == [(0, index) for index in range(length)]
    assert list(samplers[0]) == sorted(samplers[0])


class Copies:
    """One image, many times."""

    class_info = ClassInfo(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return RawSample(self.image, self.image[..., 0] % 2, f"copy/{index}")


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    def make(seed):
        return Transformed(dataset=Copies(), transform=TrainTransform(crop_size=[16, 16]), seed=seed)

    seen = {}
    for seed in (0, 1):
        first, second = make(seed), make(seed)
        assert len(first) == 8
        for epoch in (0, 1):
            for index in range(8):
                sample = first[epoch, index]
                assert (sample["name"], sample["index"]) == (f"copy/{index}", index)
                seen[seed, epoch, index] = sample["image"].numpy().tobytes()
        backwards = [second[epoch, index]["image"].numpy().tobytes() for epoch in (1, 0) for index in range(7, -1, -1)]
        assert backwards == [seen[seed, epoch, index] for epoch in (1, 0) for index in range(7, -1, -1)]
    assert len(set(seen.values())) == len(seen) == 32
