"""What a setting costs before it is trained: parameters and FLOPs, counted without computing anything."""

from functools import lru_cache

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib import rivals
from hsta_lib.config import with_fields
from hsta_lib.models.hsta import HSTA
from hsta_lib.trials import settings_of

_LEAST_FLOPS = 1e6  # below it, what is no arithmetic takes the time


def parameters_and_flops(settings, n_classes):
    """Size of the network and cost of one forward pass of one clip.

    Parameters
    ----------
    settings : hsta_lib.config.Settings
    n_classes : int

    Returns
    -------
    n_parameters : int
        Of what classifies; 0 for a classifier without a network.
    flops : int
        One multiply-add is 2 FLOP. Counted on the meta device, where fused attention is visible to
        torch's counter. CSTA costs less here than Eqs. 8-12 as printed, see `CrossAttention`.

    Raises
    ------
    ValueError
        If the settings make no network, e.g. an image not divisible by the patch.
    """
    if settings.comparison.rival:
        return _count_rival(settings.comparison, n_classes)
    # All modules are alike: two small networks tell the cost of any depth.
    one, two = (np.array(_count(with_fields(settings, m=m), n_classes)) for m in (1, 2))
    return tuple((one + (settings.model.m - 1) * (two - one)).tolist())


def flops_of_plain_csta(settings, n_classes):
    """FLOP of one clip's forward pass if CSTA applied W_k and W_v to every token, as the authors' code does.

    The result is the same; ours applies them to one query and one sum per head, see `CrossAttention`.
    """
    model = settings.model
    with torch.device("meta"):
        network = HSTA.from_settings(with_fields(settings, m=1), n_classes)
    video, special = network.embed_video.n_tokens, network.embed_special.n_tokens
    extra = 0
    for d, n in ((model.d, video), (model.d_special or model.d, special)):
        plain = 2 * 2 * (1 + n) * d * d + 2 * 2 * (1 + n) * d
        ours = 2 * 2 * model.heads * d * d + 2 * 2 * model.heads * (1 + n) * d
        extra += plain - ours
    return parameters_and_flops(settings, n_classes)[1] + model.m * model.csta * extra


@lru_cache(maxsize=1024)
def _count(settings, n_classes):
    frames = settings.frames
    with torch.device("meta"):
        model = HSTA.from_settings(settings, n_classes)
        video = torch.empty(1, 3, frames.n_frames, frames.image_size, frames.image_size)
        special = torch.empty(1, 3, 2, frames.image_size, frames.image_size)
        with FlopCounterMode(display=False) as counter:
            model(video, special)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


@lru_cache(maxsize=1024)
def _count_rival(comparison, n_classes):
    with torch.device("meta"):
        model = rivals.build(comparison, n_classes)
        if not isinstance(model, torch.nn.Module):
            return 0, 0
        with FlopCounterMode(display=False) as counter:
            model.eval()(torch.empty(1, *rivals.input_shape(comparison)))
    # A decoder only serves the first stage of a training.
    kept = [p.numel() for name, p in model.named_parameters() if not name.startswith("decoder")]
    return sum(kept), counter.get_total_flops()


def plan(settings, cells, n_classes):
    """Size and cost of every cell of a grid, before any is trained.

    Parameters
    ----------
    settings : hsta_lib.config.Settings
    cells : DataFrame
        From `hsta_lib.trials.expand_grid`.
    n_classes : int

    Returns
    -------
    DataFrame
        ``cells`` with ``parameters`` and ``mflop``, 10^6 FLOP of one clip's forward pass.
    """
    counts = [parameters_and_flops(variant, n_classes) for variant in settings_of(settings, cells)]
    return cells.assign(parameters=[n for n, _ in counts], mflop=[flops / 1e6 for _, flops in counts])


def relative_cost(trial, n_classes):
    """Modelled cost of a trial, in FLOP per clip times epochs: orders trials and weights the time left."""
    training, flops = trial.settings.training, parameters_and_flops(trial.settings, n_classes)[1]
    return max(flops, _LEAST_FLOPS) * (training.pretraining_epochs + training.epochs)
