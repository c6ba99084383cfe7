"""Convolutions, norms and pools: operators whose weights the techniques change, or which move a window."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from compression.errors import InvalidModel
from compression.network.onnx_reader.operators.values import tensor
from compression.network.onnx_reader.program import Node

Call = Callable[..., Any]

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_AVERAGE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def _window(node: Node, x: torch.Tensor, kernel: list[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """(stride, dilation, padding in front, padding behind) of each axis that a window moves over."""
    rank = len(kernel)
    stride, dilation = list(node.get("strides") or [1] * rank), list(node.get("dilations") or [1] * rank)
    pads = list(node.get("pads") or [0] * (2 * rank))
    if x.dim() != rank + 2 or not len(stride) == len(dilation) == rank or len(pads) != 2 * rank:
        raise InvalidModel(f"{node.said} moves a window over {rank} axes, but reads a value of {x.dim()}.")
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        for i, length in enumerate(x.shape[2:]):
            span = (kernel[i] - 1) * dilation[i] + 1
            need = max(0, (-(-length // stride[i]) - 1) * stride[i] + span - length)
            pads[i], pads[rank + i] = need // 2, need - need // 2
            if auto == "SAME_LOWER":
                pads[i], pads[rank + i] = pads[rank + i], pads[i]
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    return stride, dilation, pads[:rank], pads[rank:]


def _padded(x: torch.Tensor, front: list[int], behind: list[int], value: float = 0.0) -> torch.Tensor:
    if not any(front) and not any(behind):
        return x
    return F.pad(x, [n for pair in zip(front[::-1], behind[::-1], strict=True) for n in pair], "constant", value)


def _conv(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    kernel = list(weight.shape[2:])
    stride, dilation, front, behind = _window(node, x, kernel)
    if front != behind:
        x, front = _padded(x, front, behind), [0] * len(kernel)
    return CONV[len(kernel)](x, weight, bias, stride, front, dilation, node.get("group", 1))


def _conv_transpose(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
    kernel = list(weight.shape[2:])
    stride, dilation, front, behind = _window(node, x, kernel)
    if front != behind or node.get("output_shape") or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise InvalidModel(f"{node.said} pads its two sides differently; equal padding is possible.")
    more = node.get("output_padding") or [0] * len(kernel)
    return CONV_TRANSPOSE[len(kernel)](x, weight, bias, stride, front, more, node.get("group", 1), dilation)


def _max_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    kernel = list(node.get("kernel_shape") or ())
    stride, dilation, front, behind = _window(node, x, kernel)
    if front != behind or any(2 * pad > size for pad, size in zip(front, kernel, strict=True)):
        x, front = _padded(x, front, behind, -math.inf), [0] * len(kernel)
    return MAX_POOL[len(kernel)](x, kernel, stride, front, dilation, bool(node.get("ceil_mode", 0)))


def _average_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    kernel = list(node.get("kernel_shape") or ())
    stride, dilation, front, behind = _window(node, x, kernel)
    counted, ceil = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    if any(each != 1 for each in dilation):
        raise InvalidModel(f"{node.said} averages with dilations {dilation[:3]}; 1 is possible.")
    fills = kernel == list(x.shape[2:]) and not any(front) and not any(behind)
    if fills:
        return ADAPTIVE_AVERAGE[len(kernel)](x, 1)
    if front == behind and all(2 * pad <= size for pad, size in zip(front, kernel, strict=True)):
        return AVERAGE_POOL[len(kernel)](x, kernel, stride, front, ceil, counted)
    total = AVERAGE_POOL[len(kernel)](_padded(x, front, behind), kernel, stride, 0, ceil)
    if counted:
        return total
    ones = torch.ones([1, 1, *x.shape[2:]])
    return total / AVERAGE_POOL[len(kernel)](_padded(ones, front, behind), kernel, stride, 0, ceil)


def _global_average(node: Node, x: torch.Tensor) -> torch.Tensor:
    return ADAPTIVE_AVERAGE[x.dim() - 2](x, 1) if 3 <= x.dim() <= 5 else x


def _global_max(node: Node, x: torch.Tensor) -> torch.Tensor:
    return torch.amax(x, list(range(2, x.dim())), keepdim=True)


def _batch_norm(
    node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor
) -> torch.Tensor:
    eps = node.get("epsilon", 1e-5)
    if x.dim() in (2, 4):
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.1, eps)
    spread = [-1, *[1] * (x.dim() - 2)]
    scale = weight / torch.sqrt(variance + eps)
    return x * scale.reshape(spread) + (bias - mean * scale).reshape(spread)


def _instance_norm(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.instance_norm(x, None, None, weight, bias, True, 0.1, node.get("epsilon", 1e-5))


def _group_norm(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    groups = node.get("num_groups", 1)
    if len(weight) == groups != x.shape[1]:  # before opset 21 they are given for groups
        weight, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (weight, bias))
    return F.group_norm(x, groups, weight, bias, node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    axis = node.get("axis", -1)
    lengths = list(x.shape[axis:])
    if list(weight.shape) != lengths:
        rest = F.layer_norm(x, lengths, None, None, node.get("epsilon", 1e-5)) * weight
        return rest if bias is None else rest + bias
    return F.layer_norm(x, lengths, weight, bias, node.get("epsilon", 1e-5))


def _rms_norm(node: Node, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    axes = list(range(node.get("axis", -1) % x.dim(), x.dim()))
    return x * torch.rsqrt(x.pow(2).mean(axes, keepdim=True) + node.get("epsilon", 1e-5)) * weight


def _skip_layer_norm(
    node: Node, x: torch.Tensor, skip: torch.Tensor, weight: torch.Tensor, bias: Any = None, more: Any = None
) -> tuple[Any, ...]:
    total = x + skip if more is None else x + skip + more
    return F.layer_norm(total, [total.shape[-1]], weight, bias, node.get("epsilon", 1e-12)), None, None, total


def _local_response(node: Node, x: torch.Tensor) -> torch.Tensor:
    return F.local_response_norm(
        x, node.get("size", 1), node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    )


def _lp_norm(node: Node, x: torch.Tensor) -> torch.Tensor:
    axis, order = node.get("axis", -1), node.get("p", 2)
    return x / (x.abs().sum(axis, True) if order == 1 else x.pow(2).sum(axis, True).sqrt())


def _mean_variance(node: Node, x: torch.Tensor) -> torch.Tensor:
    axes = node.get("axes") or [0, 2, 3]
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt(centred.pow(2).mean(axes, keepdim=True) + 1e-9)


def _fused_conv(node: Node, x: torch.Tensor, weight: torch.Tensor, bias: Any = None, more: Any = None) -> torch.Tensor:
    found = _conv(node, x, weight, bias)
    found = found if more is None else found + more
    slopes = node.get("activation_params") or []
    match node.get("activation", ""):
        case "":
            return found
        case "Relu":
            return F.relu(found)
        case "Sigmoid" | "Tanh" as name:
            return torch.sigmoid(found) if name == "Sigmoid" else torch.tanh(found)
        case "Clip" if len(slopes) == 2:
            return F.relu6(found) if slopes == [0.0, 6.0] else torch.clamp(found, *slopes)
        case "LeakyRelu" if slopes:
            return F.leaky_relu(found, slopes[0])
        case "HardSigmoid" if len(slopes) == 2:
            return torch.clamp(found * slopes[0] + slopes[1], 0, 1)
        case name:
            raise InvalidModel(f"{node.said} has the activation {name!r}, which is not known here.")


def _softmax(call: Callable[..., torch.Tensor]) -> Call:
    def apply(node: Node, x: torch.Tensor) -> torch.Tensor:
        x = tensor(x)
        if node.get("opset", 13) >= 13:
            return call(x, node.get("axis", -1))
        axis = node.get("axis", 1) % x.dim()
        if axis == x.dim() - 1:
            return call(x, axis)
        return call(x.flatten(axis), axis).reshape(x.shape)  # before opset 13 all axes behind count as one

    return apply


LAYERS: dict[str, Call] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average, "GlobalMaxPool": _global_max, "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm, "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm, "SimplifiedLayerNormalization": _rms_norm, "LRN": _local_response,
    "LpNormalization": _lp_norm, "MeanVarianceNormalization": _mean_variance,
    "Softmax": _softmax(torch.softmax), "LogSoftmax": _softmax(torch.log_softmax),
}  # fmt: skip

OF_MICROSOFT: dict[str, Call] = {"FusedConv": _fused_conv, "SkipLayerNormalization": _skip_layer_norm}

WEIGHTS = {
    "Conv": ("weight", "bias"), "ConvTranspose": ("weight", "bias"), "FusedConv": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"), "PRelu": ("weight",),
    "InstanceNormalization": ("weight", "bias"), "GroupNormalization": ("weight", "bias"),
    "LayerNormalization": ("weight", "bias"), "RMSNormalization": ("weight",),
    "SimplifiedLayerNormalization": ("weight",), "Linear": ("weight", "bias"),
}  # fmt: skip
"""Operators whose second and further inputs are a layer's own tensors, and how modules of torch call those."""
