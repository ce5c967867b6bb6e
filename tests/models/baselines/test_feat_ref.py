"""The approximation of FeatRef: its size, its class branches, and its loss by its formula."""

import math

import numpy as np
import pytest
import torch
from nets import batch, n_parameters, shapes_of
from torch import nn

from hsta_lib.models.baselines import feat_ref
from hsta_lib.models.baselines.feat_ref import FeatRefApproximation, Proposal

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_says_that_it_is_an_approximation():
    for documented in (feat_ref, Proposal):
        assert "approximation" in documented.__doc__
    assert "Approximation" in FeatRefApproximation.__name__


def test_layers_and_size():
    model = FeatRefApproximation(3)
    proposal = 129 * 128 + 129 * 64 + 65
    assert n_parameters(model.proposals) == 3 * proposal
    assert n_parameters(model) == n_parameters(model.trunk) + 6273 * 128 + 3 * proposal + 193 * 3
    assert round(n_parameters(model) / 1e6, 2) == 0.90
    shapes = shapes_of(model, batch(2, 2, 28, 28), ["trunk", "shared", "proposals.2.gate", "head"])
    assert shapes == {"trunk": (6272,), "shared": (128,), "proposals.2.gate": (128,), "head": (3,)}


def test_a_proposal_by_hand():
    proposal = Proposal(2, 1)
    with torch.no_grad():
        proposal.gate.weight.zero_()
        proposal.gate.bias.copy_(torch.tensor([0.0, math.log(3)]))  # gates 1/2 and 3/4
        proposal.refined.weight.copy_(torch.tensor([[2.0, 4.0]]))
        proposal.refined.bias.fill_(-5)
        proposal.decision.weight.fill_(-3)
        proposal.decision.bias.fill_(1)
    features, decision = proposal(torch.tensor([[3.0, 2.0], [1.0, 1.0]]))
    # 2 * 1.5 + 4 * 1.5 - 5 = 4; 2 * 0.5 + 4 * 0.75 - 5 < 0.
    assert torch.allclose(features, torch.tensor([[4.0], [0.0]]))
    assert torch.allclose(decision, torch.tensor([[-11.0], [1.0]]))


def test_every_class_has_its_own_features():
    torch.manual_seed(0)
    model, x = FeatRefApproximation(5, image_size=13, shared=11, own=7).eval(), batch(2, 2, 13, 13)
    shared = model.shared(model.trunk(x)).relu()
    features = torch.cat([proposal(shared)[0] for proposal in model.proposals], dim=1)
    assert features.shape == (2, 5 * 7)
    assert torch.allclose(model(x), model.head(features), rtol=0, atol=1e-6)


def test_the_loss_is_its_formula():
    torch.manual_seed(0)
    model, x = FeatRefApproximation(3).eval(), batch(5, 2, 28, 28)
    for proposal in model.proposals:
        nn.init.normal_(proposal.decision.bias, std=2)
    labels = np.array([0, 1, 2, 0, 1])
    shared = model.shared(model.trunk(x)).relu()
    decisions = torch.cat([proposal(shared)[1] for proposal in model.proposals], dim=1)
    p = model(x).softmax(dim=1).detach().double().numpy()
    q = decisions.sigmoid().detach().double().numpy()
    truth = np.eye(3)[labels]
    binary = -(truth * np.log(q) + (1 - truth) * np.log(1 - q)).mean()
    expected = -np.log(p[np.arange(5), labels]).mean() + 0.85 * binary
    assert model.loss(x, torch.from_numpy(labels)).item() == pytest.approx(expected, abs=1e-5)
