"""What the tests of the networks on optical flow have in common."""

import torch


def random_flow(height, width, seed=0):
    """Flow and strain of one clip, ``(h, w, 3)``."""
    return torch.randn(height, width, 3, generator=torch.Generator().manual_seed(seed)).numpy()


def batch(*shape, seed=0):
    """Inputs in 0..1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def easy_clips(*shape, n=60, n_classes=3):
    """Clips that show the pattern of their class and half as much noise, and their labels."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % n_classes
    patterns = torch.rand(n_classes, *shape, generator=generator)
    return patterns[labels] + 0.5 * torch.rand(n, *shape, generator=generator), labels


def fitted_accuracy(model, x, labels, *, epochs, rate, size=20):
    """Accuracy on the training clips after training with Adam, in batches of ``size`` in order."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        for part, answers in zip(x.split(size), labels.split(size), strict=True):
            optimizer.zero_grad()
            model.loss(part, answers).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(dim=1) == labels).float().mean().item()


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def shapes_of(model, x, names):
    """Shapes, without the batch, of what the named modules put out."""
    shapes = {}
    for name in names:
        module = model.get_submodule(name)
        module.register_forward_hook(
            lambda module, args, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        model.eval()(x)
    return shapes


def assert_eval_is_deterministic(model, x):
    """Twice the same in eval mode, whoever else is in the batch; in training, dropout is drawn anew."""
    model.eval()
    with torch.no_grad():
        scores = model(x)
        assert torch.equal(scores, model(x))
        # Another batch size may take another path through the sums.
        assert torch.allclose(scores[:1], model(x[:1]), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(scores[:1], scores[1:2], rtol=1e-4, atol=1e-5)
    dropped = any(isinstance(module, torch.nn.Dropout) for module in model.modules())
    model.train()
    assert torch.equal(model(x), model(x)) != dropped


def assert_every_parameter_learns(model, x, labels):
    model.train()
    model.loss(x, labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
