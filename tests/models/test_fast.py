"""Kernels: they compute what the plain formula does, and so do their gradients."""

import pytest
import torch
from torch.nn import functional

from hsta_lib.models import fast
from hsta_lib.models.hsta import USTALayer


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("m", [1, 7])
def test_attention_to_tokens_that_are_keys_and_values(m):
    queries, tokens = normal(2, m, 5), normal(2, 11, 5, seed=1)
    expected = (queries @ tokens.mT).softmax(dim=-1) @ tokens
    torch.testing.assert_close(fast.attend(queries, tokens), expected)
    inputs = queries.requires_grad_(), tokens.requires_grad_()
    assert torch.autograd.gradcheck(fast.attend, inputs)


def test_attention_in_another_precision_is_the_same_rounded():
    queries, tokens = normal(2, 3, 5).float(), normal(2, 11, 5, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = fast.attend(queries, tokens)
    assert rounded.dtype == torch.bfloat16
    assert 0 < (rounded.float() - fast.attend(queries, tokens)).abs().max() < 0.05


def test_one_head_with_products_left_out_is_attention_of_queries_keys_and_values():
    attention, tokens = USTALayer(11).double().attention, normal(2, 13, 11).requires_grad_()
    with torch.no_grad():
        attention.qkv.weight.normal_(generator=torch.Generator().manual_seed(2))
    q, k, v = functional.linear(tokens, attention.qkv.weight).chunk(3, dim=-1)
    expected = (q @ k.mT / 11**0.5).softmax(dim=-1) @ v
    seen = attention(tokens)
    torch.testing.assert_close(seen, expected)
    of = tokens, attention.qkv.weight
    gradients = [torch.autograd.grad(way.sin().sum(), of) for way in (seen, expected)]
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)
