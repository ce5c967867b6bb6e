"""STSTNet, shallow triple stream three-dimensional CNN (Liong, Gan, See, Khor and Huang, FG 2019).

Three parallel convolutions of 3, 5 and 8 filters see the same picture of onset-to-apex flow and strain. All
have the same kernel, pooling and dropout and meet channel by channel, so they are one convolution of 16
filters, which is what is built here.

As in the authors' PyTorch code: zero padding of 2 px (the paper names 1 px), order of the layers, size of
the input, range 0 to 255 without further scaling, PyTorch's initial weights. The paper counts 1,670
parameters, that code and this one 1,683. The authors store the input as a picture of 8 bits; here it is not
rounded.

The original has no selection of an epoch: the predictions after the last one are scored. It trains for 500
epochs in MATLAB and 800 in PyTorch, and how either was found is not told. The column that its table calls
UAR is macro precision.
"""

import pickle

import numpy as np
import torch
from torch import nn
from torch.nn import functional

N_FILTERS = 3 + 5 + 8
# Of the authors' checkpoints: their streams 1, 2, 3 joined, in this order, are our filters.
_JOINED = {
    "convolution.{}": ("conv{}.{}", ("weight", "bias")),
    "norm.{}": ("bn{}.{}", ("weight", "bias", "running_mean", "running_var")),
}


def check_sizes(**sizes):
    """Refuse sizes of a network that cannot be.

    Parameters
    ----------
    **sizes : tuple of int
        Of each size, by its name: its value and the smallest that is possible.

    Raises
    ------
    ValueError
        Naming the size, its value and the smallest.
    """
    for name, (value, smallest) in sizes.items():
        if value < smallest:
            raise ValueError(f"{name} = {value} is too small; choose at least {smallest}")


def min_max_picture(flow):
    """Flow and strain of one clip as a picture, every channel stretched to 0..1 by its own range.

    Where nothing moves is then not the same grey in every clip, and which channel moves most is lost.

    Parameters
    ----------
    flow : ndarray, float32, shape (h, w, 3)
        u and v in px, x right and y down, and optical strain, from onset to apex.

    Returns
    -------
    ndarray, float32, shape (3, h, w)
        A channel that is constant is 0.

    Raises
    ------
    ValueError
        If it is no such array, or not finite.
    """
    if flow.dtype != np.float32 or flow.ndim != 3 or flow.shape[2] != 3:
        raise ValueError(
            f"flow must be float32 of shape (h, w, 3): u, v, strain; found {flow.dtype} {flow.shape}"
        )
    if not np.isfinite(flow).all():
        raise ValueError("flow holds values that are not finite; leave the clip out or mend its frames")
    picture = np.ascontiguousarray(flow.transpose(2, 0, 1))
    low, high = (end(picture, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return (picture - low) / np.where(high > low, high - low, 1)


def prepare(flow):
    """The network's input: u, v and strain, each stretched to 0..255 by its own range.

    Parameters
    ----------
    flow : ndarray, float32, shape (h, w, 3)
        See `min_max_picture`, which also says what it raises.

    Returns
    -------
    ndarray, float32, shape (3, h, w)
        A channel that is constant is 0.
    """
    return 255 * min_max_picture(flow)


class STSTNet(nn.Module):
    """One convolution of 16 filters, two poolings and a linear layer.

    Parameters
    ----------
    n_classes : int
    image_size : int
        Side of the picture, px.

    Raises
    ------
    ValueError
        If there are fewer than two classes or nothing is left of the picture.
    """

    def __init__(self, n_classes, *, image_size=28):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), image_size=(image_size, 2))
        self.convolution = nn.Conv2d(3, N_FILTERS, kernel_size=3, padding=2)
        self.norm = nn.BatchNorm2d(N_FILTERS)
        self.dropout = nn.Dropout(0.5)
        side = ((image_size + 1) // 3 + 1) // 2  # after both poolings
        self.head = nn.Linear(side * side * N_FILTERS, n_classes)

    def forward(self, x):
        """Class scores (logits) of pictures.

        Parameters
        ----------
        x : Tensor, float, shape (b, 3, image_size, image_size)
            From `prepare`.

        Returns
        -------
        Tensor, shape (b, n_classes)
        """
        # Channels last: on a CPU an epoch takes about two thirds of the time, nearly all of it here.
        x = self.norm(self.convolution(x.contiguous(memory_format=torch.channels_last)).relu())
        x = self.dropout(functional.max_pool2d(x, kernel_size=3, stride=3, padding=1))
        return self.head(functional.avg_pool2d(x, kernel_size=2).flatten(1))

    def loss(self, x, labels):
        """Mean cross-entropy of a batch: pictures as for `forward`, labels int64 of shape (b,)."""
        return functional.cross_entropy(self(x), labels)


def with_authors_weights(path):
    """The network with the weights of a checkpoint that the authors published.

    Parameters
    ----------
    path : Path
        One of ``STSTNet_Weights/`` of their repository (christy1206/STSTNet): three streams, three classes.

    Returns
    -------
    STSTNet
        In evaluation mode. It takes pictures of 28 px, 0..255, whose channels are in the order in which
        OpenCV reads them: blue, green, red.

    Raises
    ------
    ValueError
        If the file is no checkpoint or that of another network.
    """
    network = STSTNet(3)
    try:
        network.load_state_dict(_joined(torch.load(path, map_location="cpu", weights_only=True)))
    except (KeyError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it is empty"
        raise ValueError(
            f"{path}: no checkpoint of STSTNet, which holds conv1 to conv3, bn1 to bn3 and fc for three "
            f"classes of pictures of 28 px: {reason}"
        ) from error
    return network.eval()


def _joined(theirs):
    """Their state as ours; ``KeyError`` for what is missing or left over."""
    ours = {f"head.{part}": theirs[f"fc.{part}"] for part in ("weight", "bias")}
    used = {"fc.weight", "fc.bias", *(f"bn{n}.num_batches_tracked" for n in (1, 2, 3))}
    ours["norm.num_batches_tracked"] = theirs["bn1.num_batches_tracked"]
    for name, (stream, parts) in _JOINED.items():
        for part in parts:
            names = [stream.format(n, part) for n in (1, 2, 3)]
            ours[name.format(part)] = torch.cat([theirs[each] for each in names])
            used |= set(names)
    if set(theirs) != used:
        raise KeyError(f"unknown: {', '.join(sorted(set(theirs) - used))}")
    return ours
