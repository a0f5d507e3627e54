from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import pad

from florilegium.specialists.detection.efficientnet_lite import EfficientNetLite0, fuse_batch_norms


def test_features_have_stride_32_and_the_logits_1000_classes() -> None:
    network = EfficientNetLite0().eval()
    with torch.inference_mode():
        features = network(torch.zeros(1, 3, 64, 96))
        assert features.shape == (1, 1280, 2, 3)
        assert network.classifier(features.mean(dim=(2, 3))).shape == (1, 1000)


def test_folding_the_batch_norms_changes_no_answer() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    pixels = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(pixels)
        fuse_batch_norms(network)
        after = network(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert before.abs().max() > 0
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_strided_convolutions_pad_as_tensorflow_does() -> None:
    torch.manual_seed(0)
    strided = [
        module
        for module in EfficientNetLite0().modules()
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2)
    ]
    assert [convolution.kernel_size[0] for convolution in strided] == [3, 3, 5, 3, 5]
    for convolution in strided:
        pixels = torch.rand(1, convolution.in_channels, 16, 24)
        first = (convolution.kernel_size[0] - 2) // 2
        last = convolution.kernel_size[0] - 2 - first
        padded = pad(pixels, (first, last, first, last))
        expected = nn.functional.conv2d(
            padded, convolution.weight, stride=2, groups=convolution.groups
        )
        torch.testing.assert_close(convolution(pixels), expected)


def test_convolutions_of_one_pixel_are_convolutions() -> None:
    torch.manual_seed(0)
    convolution = EfficientNetLite0()._conv_head
    pixels = torch.rand(1, convolution.in_channels, 3, 5)
    expected = nn.functional.conv2d(pixels, convolution.weight)
    torch.testing.assert_close(convolution(pixels), expected)
