"""Two processes with half a batch each against torch's batch norm on the whole batch."""

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn
from two_processes import run_in_two

from atrous.tasks.sync_batchnorm import SyncBatchNorm


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), BatchNormAct2d(6))


def batch():
    return torch.randn(4, 3, 9, 7, generator=torch.Generator().manual_seed(1)) * 3 + 1


def half(rank, store, results):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    net = SyncBatchNorm(cpu=True).apply(network())
    output = net(batch()[2 * rank : 2 * rank + 2])
    output.square().mean().backward()
    for parameter in net.parameters():  # what DDP does
        dist.all_reduce(parameter.grad)
        parameter.grad /= 2
    net = SyncBatchNorm(cpu=True).revert(net)
    torch.save(
        {
            "output": output.detach(),
            "gradients": [parameter.grad for parameter in net.parameters()],
            "state": net.state_dict(),
            "types": [type(module).__name__ for module in net],
        },
        f"{results}/{rank}.pt",
    )
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sync")
    run_in_two(half, folder / "store", folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_outputs_gradients_and_statistics_are_those_of_the_whole_batch(halves):
    net = network()
    output = net(batch())
    output.square().mean().backward()
    torch.testing.assert_close(torch.cat([part["output"] for part in halves]), output.detach(), atol=1e-5, rtol=1e-5)
    for part in halves:
        for found, parameter in zip(part["gradients"], net.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.grad, atol=1e-5, rtol=1e-4)
        for key, value in net.state_dict().items():
            torch.testing.assert_close(part["state"][key], value, atol=1e-6, rtol=1e-5)


def test_revert_brings_the_plain_layers_back(halves):
    assert halves[0]["types"] == ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNormAct2d"]
