"""Kernels tuned for the processor at hand; what they compute is what their names say."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, tokens):
        weights = torch.bmm(queries, tokens.transpose(1, 2)).softmax(dim=-1)
        ctx.save_for_backward(queries, tokens, weights)
        return torch.bmm(weights, tokens)

    @staticmethod
    def backward(ctx, gradient):
        queries, tokens, weights = ctx.saved_tensors
        of_weights = torch.bmm(gradient, tokens.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_tokens = torch.bmm(of_scores.transpose(1, 2), queries)
        return torch.bmm(of_scores, tokens), of_tokens.baddbmm_(weights.transpose(1, 2), gradient)


def is_plain(tokens):
    """Whether products are taken on a CPU, in the precision of the tokens."""
    return tokens.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def attend(queries, tokens):
    """Attention of scaled queries ``(b, m, d)`` to tokens ``(b, n, d)``, both keys and values: ``(b, m, d)``.

    Its own backward pass makes two products less of the tokens' gradient than PyTorch's: a step of a small
    network takes a sixteenth less, see benchmarks/step.py.
    """
    if is_plain(tokens):
        return _Attend.apply(queries, tokens)
    return (queries @ tokens.transpose(1, 2)).softmax(dim=-1) @ tokens


def attention_in_heads(queries, keys, values):
    """Attention of ``(b, heads, n, e)`` queries, keys and values, with scale 1/sqrt(e)."""
    if queries.dtype != torch.bfloat16 or queries.device.type != "cpu":
        return scaled_dot_product_attention(queries, keys, values)
    # torch's fused kernel for CPUs is faster in float32 than products and softmax apart, but in bfloat16
    # slower, see benchmarks/step.py.
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    return scores.softmax(dim=-1) @ values


class Dropout(nn.Dropout):
    """Dropout; on a CPU with 16 random bits per number, to which its rate is rounded.

    The random numbers of PyTorch's own take a ninth of a large network's step in bfloat16, see
    benchmarks/step.py, and a sixth of one of STSTNet.
    """

    def forward(self, values):
        """Any shape in and out."""
        is_slow = values.device.type == "cpu"
        if not (self.training and self.p and is_slow) or torch.compiler.is_compiling():
            return super().forward(values)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = bits >= round(self.p * 2**16) - 2**15
        return values * (kept.to(values.dtype) / (1 - self.p))
