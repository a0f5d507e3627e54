"""The network EfficientNet-Lite0: from pixels to a feature map and class logits.

Tan and Le, arXiv 1905.11946, in the TensorFlow team's "lite" variant: no squeeze-and-excite,
ReLU6, stem and head of fixed width. Attributes are named as in the published checkpoint. This
module imports torch: import it from `load`, never at the top of another module.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad, relu6
from torch.nn.utils.fusion import fuse_conv_bn_eval

# repeats, kernel, stride, expansion, output channels of each group of blocks
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPS = 1e-3


class _DownConv2d(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's "SAME" padding of an even side.

    The odd pixel is padded at the right and below. Two zeros before the kernel are equivalent to
    unequal padding of the input, which would copy the largest maps of the network.
    """

    def forward(self, x: Tensor) -> Tensor:
        kernel = pad(self.weight, (2, 0, 2, 0))
        padding = kernel.shape[-1] // 2
        return conv2d(x, kernel, self.bias, stride=2, padding=padding, groups=self.groups)


class _PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution as a matrix product, which is faster in torch on one thread."""

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        return linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    if stride == 2:
        return _DownConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    if kernel == 1:
        return _PointwiseConv2d(inputs, outputs, 1, bias=False)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)


class _Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project, and a shortcut if the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.is_expanded = expansion != 1
        if self.is_expanded:
            self._expand_conv, self._bn0 = _conv(inputs, width), nn.BatchNorm2d(width, _EPS)
        self._depthwise_conv = _conv(width, width, kernel, stride, groups=width)
        self._bn1 = nn.BatchNorm2d(width, _EPS)
        self._project_conv, self._bn2 = _conv(width, outputs), nn.BatchNorm2d(outputs, _EPS)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.is_expanded else x
        wide = relu6(self._bn1(self._depthwise_conv(wide)), inplace=True)
        narrow: Tensor = self._bn2(self._project_conv(wide))
        return narrow.add_(x) if self.has_shortcut else narrow


class EfficientNetLite0(nn.Module):
    """The classifier of 1000 ImageNet classes; its feature map has stride 32."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, 32, 3, stride=2), nn.BatchNorm2d(32, _EPS)
        self._blocks = nn.ModuleList()
        inputs = 32
        for repeats, kernel, stride, expansion, outputs in _GROUPS:
            for step in (stride, *[1] * (repeats - 1)):
                self._blocks.append(_Block(inputs, outputs, kernel, step, expansion))
                inputs = outputs
        self._conv_head, self._bn1 = _conv(inputs, 1280), nn.BatchNorm2d(1280, _EPS)
        self._fc = nn.Linear(1280, 1000)

    @property
    def classifier(self) -> nn.Linear:
        """The layer from 1280 features to the logits of 1000 classes."""
        return self._fc

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps (n, 1280, h/32, w/32) of RGB pixels (n, 3, h, w), (x - 127) / 128.

        The logits of an image are `classifier` applied to its features, averaged over the image.
        """
        x = relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return relu6(self._bn1(self._conv_head(x)), inplace=True)


def fuse_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place; this halves the time."""
    for module in list(network.modules()):
        children = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
