"""A network: patches, then equal residual blocks, in the manner of an isotropic ConvNeXt (Liu et al. 2022)."""

from torch import Tensor, nn


class Block(nn.Module):
    """x + a depthwise convolution, then two 1x1 convolutions with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 4 * width, 1),
            nn.GELU(),
            nn.Conv2d(4 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def build(*, channels: int, classes: int, image_size: int, width: int = 32, depth: int = 6) -> nn.Module:
    """Blocks are found automatically; here all but one can be removed, since they all have one shape."""
    patch = 2 if image_size >= 16 else 1
    return nn.Sequential(
        nn.Conv2d(channels, width, patch, stride=patch),
        nn.Sequential(*(Block(width) for _ in range(depth))),
        nn.BatchNorm2d(width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    )
