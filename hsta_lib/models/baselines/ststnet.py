"""STSTNet, shallow triple stream three-dimensional CNN (Liong, Gan, See, Khor and Huang, FG 2019).

Three parallel convolutions of 3, 5 and 8 filters see the same picture of onset-to-apex flow and strain. All
have the same kernel, pooling and dropout and meet channel by channel. So they are one convolution of 16
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

import torch
from torch import nn
from torch.nn import functional

from hsta_lib.models.baselines.layers import Network, check_sizes, min_max_picture
from hsta_lib.models.fast import Dropout

N_FILTERS = 3 + 5 + 8
# Of the authors' checkpoints: their streams 1, 2, 3 joined, in this order, are our filters.
_JOINED = {
    "convolution.{}": ("conv{}.{}", ("weight", "bias")),
    "norm.{}": ("bn{}.{}", ("weight", "bias", "running_mean", "running_var")),
}


def prepare(flow):
    """u, v and strain, each stretched to 0..255: float32 ``(3, h, w)``; see `layers.min_max_picture`."""
    return 255 * min_max_picture(flow)


class STSTNet(Network):
    """One convolution of 16 filters, two poolings and a linear layer.

    The picture has ``image_size`` px; sizes that do not fit are refused, see `layers.check_sizes`.
    """

    def __init__(self, n_classes, *, image_size=28):
        super().__init__()
        check_sizes(n_classes=(n_classes, 2), image_size=(image_size, 2))
        self.convolution = nn.Conv2d(3, N_FILTERS, kernel_size=3, padding=2)
        self.norm = nn.BatchNorm2d(N_FILTERS)
        self.dropout = Dropout(0.5)
        side = ((image_size + 1) // 3 + 1) // 2  # after both poolings
        self.head = nn.Linear(side * side * N_FILTERS, n_classes)

    def forward(self, x):
        """Class scores (logits) of pictures ``(b, 3, image_size, image_size)`` from `prepare`."""
        # Channels last: on a CPU an epoch takes about two thirds of the time, nearly all of it here.
        x = self.norm(self.convolution(x.contiguous(memory_format=torch.channels_last)).relu())
        x = self.dropout(functional.max_pool2d(x, kernel_size=3, stride=3, padding=1))
        return self.head(functional.avg_pool2d(x, kernel_size=2).flatten(1))


def with_authors_weights(path):
    """The network, in evaluation mode, with the weights of a checkpoint that the authors published.

    It takes pictures of 28 px, 0..255, whose channels are in the order in which OpenCV reads them: blue,
    green, red. ``path`` (Path): one of ``STSTNet_Weights/`` of their repository (christy1206/STSTNet), of
    three streams and three classes. A file that is no checkpoint, or that of another network, is a
    ValueError.
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
