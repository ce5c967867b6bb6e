"""Kernels tuned for the processor at hand; what they compute is what their names say."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


def attention_in_heads(queries, keys, values):
    """Attention of ``(b, heads, n, e)`` queries, keys and values, with scale 1/sqrt(e)."""
    if queries.dtype != torch.bfloat16 or queries.device.type != "cpu":
        return scaled_dot_product_attention(queries, keys, values)
    # torch's fused kernel for CPUs is faster in float32 than products and softmax apart, but in bfloat16
    # slower, see benchmarks/step.py.
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    return scores.softmax(dim=-1) @ values


class Dropout(nn.Dropout):
    """Dropout; on a CPU in bfloat16 with 16 random bits per number, to which its rate is rounded.

    The random numbers of PyTorch's own take a ninth of a step there, see benchmarks/step.py.
    """

    def forward(self, values):
        """Any shape in and out."""
        is_slow = values.dtype == torch.bfloat16 and values.device.type == "cpu"
        if not (self.training and self.p and is_slow) or torch.compiler.is_compiling():
            return super().forward(values)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = bits >= round(self.p * 2**16) - 2**15
        return values * (kept.to(values.dtype) / (1 - self.p))
