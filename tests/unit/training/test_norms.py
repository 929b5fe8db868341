"""Statistics of groups of images against a layer for each group; kinds of BatchNorm that do more are refused."""

import pytest
import torch
from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.training.norms import SharedNorms, group_norms
from layerlottery.training.ranks import ManyRanks


class WithActivation(nn.BatchNorm2d):
    """As timm's."""

    def forward(self, x):
        return super().forward(x).relu()


# a last group that is smaller, and a last single image, which joins the group before it
@pytest.mark.parametrize(("count", "sizes"), [(12, [4, 4, 4]), (11, [4, 4, 3]), (9, [4, 5])])
def test_each_group_has_the_statistics_of_a_layer_of_its_own(count, sizes):
    torch.manual_seed(0)
    images = torch.randn(count, 3, 5, 5) * torch.arange(1, count + 1).view(-1, 1, 1, 1)
    model = nn.Sequential(nn.BatchNorm2d(3))
    nn.init.uniform_(model[0].weight)
    layers = [nn.BatchNorm2d(3) for _ in sizes]
    for layer in layers:
        layer.load_state_dict(model[0].state_dict())
    group_norms(model, 4)
    found, inputs = model(images), images.clone().requires_grad_()
    expected = torch.cat([layer(part) for layer, part in zip(layers, inputs.split(sizes), strict=True)])
    torch.testing.assert_close(found, expected)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(model[0], name), torch.stack([getattr(one, name) for one in layers]).mean(0))
    # in use it is what it was, and so are its names
    torch.testing.assert_close(model.eval()(images), nn.functional.batch_norm(images, *statistics(model[0]), eps=1e-5))
    assert model.state_dict().keys() == nn.Sequential(nn.BatchNorm2d(3)).state_dict().keys()


def statistics(layer):
    return layer.running_mean, layer.running_var, layer.weight, layer.bias


@pytest.mark.parametrize("change", [lambda model: group_norms(model, 4), lambda model: SharedNorms(model, CPU)])
def test_a_layer_that_does_more_is_named(change):
    with pytest.raises(LayerLotteryError, match="layer 1 is a WithActivation, not torch's own BatchNorm"):
        change(nn.Sequential(nn.BatchNorm2d(3), WithActivation(3)))


CPU = torch.device("cpu")


class Nothing:
    """Norms that need no telling."""

    def join(self, together):
        self.together = together


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("processes", [2, 3, 8])
@pytest.mark.parametrize("images", [3, 4, 9, 33, 128])
def test_shares_are_the_batch_in_whole_groups(group, processes, images):
    norms = Nothing()
    ranks = [ManyRanks(number, processes, norms, group=group) for number in range(processes)]
    shares = [one.share(images) for one in ranks]
    draws = {one.begin(share) for one, share in zip(ranks, shares, strict=True)}
    if not norms.together:
        assert draws == {()}
        # too few for all: each takes all of it
        assert {(one.first, one.last) for one in shares} == {(0, images)}
        assert images // group < processes
        return
    assert [image for one in shares for image in range(one.first, one.last)] == list(range(images))
    assert all(len(one) for one in shares)
    assert len(draws) == processes
    assert all(one.first % group == 0 for one in shares)


def test_groups_are_no_larger_than_batches():
    with pytest.raises(ValueError, match="norm_images: found 64; allowed: at most batch_size, 32"):
        TrainingSettings(batch_size=32, norm_images=64)
