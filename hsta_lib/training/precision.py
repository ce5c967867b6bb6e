"""Which precision a training computes its products in on this machine."""

import torch

from hsta_lib.config import with_fields
from hsta_lib.training.cost import parameters_and_flops

# FLOP of one clip's forward pass from which bfloat16 pays on a CPU. With AVX512-bf16 (AMD EPYC, one thread)
# a step in float32 takes 0.7 times as long as one in bfloat16 below 1 MFLOP, 1.1 times at 20, 1.3 at 130 and
# 1.8 at 1800 (`python benchmarks/step.py --sizes`). Networks that would gain less than a quarter stay in it.
_LEAST_FLOPS = 1e8


def with_precision(settings, precision):
    """Settings with a precision; ``auto`` becomes what this machine gains from.

    That is bfloat16 on a GPU that has it, and of large networks on a CPU with AMX or AVX512-bf16; otherwise
    float32. The cost of ``settings`` decides, before a grid varies them: all cells of a table have one
    precision. A trial's id contains the outcome: where trials are sent to other machines, it is this one that
    decides for all of them.
    """
    if precision == "auto":
        precision = "bfloat16" if _gains_from_bfloat16(settings) else "float32"
    return with_fields(settings, precision=precision)


def _gains_from_bfloat16(settings):
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = getattr(torch.cpu, "get_capabilities", dict)()  # not in torch 2.6
    has_units = able.get("amx_bf16", False) or able.get("avx512_bf16", False)
    return has_units and parameters_and_flops(settings, n_classes=1)[1] >= _LEAST_FLOPS
