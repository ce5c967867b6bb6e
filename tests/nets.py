"""What the tests of networks have in common."""

import torch


def random_flow(height, width, seed=0):
    """Flow and strain of one clip, ``(h, w, 3)``."""
    return torch.randn(height, width, 3, generator=torch.Generator().manual_seed(seed)).numpy()


def batch(*shape, seed=0):
    """Inputs in 0..1."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(build, n_classes=3, **sizes):
    """A network with the same weights each time."""
    torch.manual_seed(0)
    return build(n_classes, **sizes)


def without_weights(build, n_classes=3, **sizes):
    """A network as published, to count."""
    with torch.device("meta"):
        return build(n_classes, **sizes)


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


def normal(*shape, seed=1):
    """Inputs around 0."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pixels(*shape, seed=1):
    """Inputs in 0..255, uint8."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def losses_in_tens(model, x, labels, *, epochs, rate, loss="loss"):
    """Losses of each step of a training with Adam, ten clips at a time, in order."""
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=rate), []
    for part, answers in epochs * [*zip(x.split(10), labels.split(10), strict=True)]:
        optimizer.zero_grad()
        losses.append(getattr(model, loss)(part, answers))
        losses[-1].backward()
        optimizer.step()
    return [value.item() for value in losses]


def fitted_in_tens(model, x, labels, *, epochs, rate):
    """Accuracy on the training clips after `losses_in_tens`."""
    losses_in_tens(model, x, labels, epochs=epochs, rate=rate)
    with torch.inference_mode():
        return (model.eval()(x).argmax(dim=1) == labels).float().mean().item()
