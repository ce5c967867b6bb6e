"""An approximation of FeatRef, feature refinement (Zhou and others, 2022), of which no public code is known.

From the abstract: shared features of Inception modules on the onset-to-apex flow; an expression proposal
module with one attention branch for each class and a loss of its own; classification on the class-specific
features together.

Approximated, ours: everything else. Input and shared features are those of `baselines.dual_inception`,
by the same first author, as one hidden layer; each class has a gate, features of its own and a decision
against all other classes; all widths and the weight of the proposal loss are chosen so that the network is
of moderate size. Optimizer and epochs of the original are unconfirmed, and so is its selection of an epoch.
"""

import torch
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.dual_inception import Trunk, initialise_as_keras
from hsta_lib.models.baselines.layers import check_sizes

_PROPOSAL_WEIGHT = 0.85


class Proposal(nn.Module):
    """Attention branch of one class, an approximation: a gate on the shared features, then its own."""

    def __init__(self, shared, own):
        super().__init__()
        self.gate = nn.Linear(shared, shared)
        self.refined = nn.Linear(shared, own)
        self.decision = nn.Linear(own, 1)

    def forward(self, x):
        """Shared features ``(b, shared)`` to the class's own ``(b, own)`` and its logit ``(b, 1)``."""
        features = self.refined(x * self.gate(x).sigmoid()).relu()
        return features, self.decision(features)


class FeatRefApproximation(nn.Module):
    """Stand-in for FeatRef: Dual-Inception's streams, a branch for each class, a linear layer on all.

    ``shared`` and ``own`` are the widths of the shared features and of each class's own; the pictures have
    ``image_size`` px. Sizes that do not fit are refused, see `layers.check_sizes`.
    """

    def __init__(self, n_classes, *, image_size=28, shared=128, own=64):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), image_size=(image_size, 4), shared=(shared, 1), own=(own, 1))
        self.trunk = Trunk(image_size)
        self.shared = nn.Linear(self.trunk.n_features, shared)
        self.proposals = nn.ModuleList(Proposal(shared, own) for _ in range(n_classes))
        self.head = nn.Linear(n_classes * own, n_classes)
        initialise_as_keras(self)

    def _scores(self, x):
        """Logits of the classification and of the proposals, both ``(b, n_classes)``."""
        x = self.shared(self.trunk(x)).relu()
        features, decisions = zip(*(proposal(x) for proposal in self.proposals), strict=True)
        return self.head(torch.cat(features, dim=1)), torch.cat(decisions, dim=1)

    def forward(self, x):
        """Class scores (logits) of flow pictures ``(b, 2, image_size, image_size)``."""
        return self._scores(x)[0]

    def loss(self, x, labels):
        """Cross-entropy, and 0.85 times the proposals' binary one, a mean over clips and classes."""
        scores, decisions = self._scores(x)
        truth = functional.one_hot(labels, scores.shape[1]).to(decisions.dtype)
        binary = functional.binary_cross_entropy_with_logits(decisions, truth)
        return functional.cross_entropy(scores, labels) + _PROPOSAL_WEIGHT * binary
