"""What the tests of networks have in common."""

import torch


def random_flow(height, width, seed=0):
    """Flow and strain of one clip, ``(h, w, 3)``."""
    return torch.randn(height, width, 3, generator=torch.Generator().manual_seed(seed)).numpy()


def batch(*shape, seed=0):
    """Inputs in 0..1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


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


def fitted_in_tens(model, x, labels, *, epochs, rate):
    """Accuracy on the training clips after training with Adam, ten clips at a time, in order."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for part, answers in epochs * [*zip(x.split(10), labels.split(10), strict=True)]:
        optimizer.zero_grad()
        model.loss(part, answers).backward()
        optimizer.step()
    with torch.inference_mode():
        return (model.eval()(x).argmax(dim=1) == labels).float().mean().item()
