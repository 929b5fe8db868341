"""Networks that write into the images that they are given: scores are those of a network that does not."""

import copy

import pytest
import torch
from torch import nn

import layerlottery as ll


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


class Normalizing(nn.Module):
    """Normalizes images itself, in place or not."""

    def __init__(self, *, inplace):
        super().__init__()
        torch.manual_seed(0)
        self.inplace, self.stem, self.blocks = inplace, nn.Conv2d(3, 4, 3), nn.Sequential(*(Block(4) for _ in range(3)))
        self.last = nn.Linear(4, 6)

    def forward(self, images):
        images = images.sub_(0.5).div_(0.25) if self.inplace else (images - 0.5) / 0.25
        return self.last(self.blocks(self.stem(images)).mean((2, 3)))


IMAGES, LABELS = torch.rand(12, 3, 8, 8), torch.arange(12) % 6


@pytest.mark.parametrize(
    ("criterion", "by_name"),
    [("snip", False), ("snip", True), ("grasp", False), ("pls", False), ("loss", True), ("kl", False), ("cka", False)],
)
def test_scores_are_those_of_a_network_that_writes_into_nothing(criterion, by_name):
    images = IMAGES.clone()
    inputs = {"images": images} if by_name else images
    expected = ll.score(Normalizing(inplace=False), (copy.deepcopy(inputs), LABELS), criterion)
    assert ll.score(Normalizing(inplace=True), (inputs, LABELS), criterion) == expected
    assert torch.equal(images, IMAGES)


def test_no_function_writes_into_the_images():
    network, images = Normalizing(inplace=True), IMAGES.clone()
    ll.find_blocks(network, images)
    ticket = ll.find_ticket(network, (images, LABELS), "snip", remove=1, head="random")
    ll.find_ticket(network, [(images, LABELS)], "l1", remove_flops=0.1)
    ll.prune(network, ticket.removed_blocks, example=images).latency(images, rounds=1)
    assert torch.equal(images, IMAGES)
