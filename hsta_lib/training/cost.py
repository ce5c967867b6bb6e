"""What a setting costs before it is trained: parameters and FLOPs, counted without computing anything."""

from functools import lru_cache

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.config import Frames, Settings, with_fields
from hsta_lib.data.splits import make_folds
from hsta_lib.models.hsta import HSTA
from hsta_lib.training import baseline_inputs, recipe
from hsta_lib.training.trials import settings_of

_PARTS = "blocks.0", "blocks.0.usta_video", "blocks.0.usta_special", "head"
_PASSES = 3  # a training step costs as many forward passes: the backward one counts twice


@lru_cache(maxsize=4096)
def parameters_and_flops(settings, n_classes):
    """Size of the network and cost of one forward pass of one clip.

    Returns
    -------
    n_parameters : int
        Of what classifies; 0 for a classifier without a network.
    flops : int
        One multiply-add is 2 FLOP. Counted on the meta device, where fused attention is visible to
        torch's counter. CSTA costs less here than Eqs. 8-12 as printed, see `CrossAttention`; that USTA with
        one head costs less on a CPU, see `SelfAttention`, is left aside.

    Raises
    ------
    ValueError
        If the settings make no network, e.g. an image not divisible by the patch.
    """
    if settings.comparison.baseline:
        return _count_baseline(settings.comparison, n_classes)
    model = settings.model
    shown = Frames(n_frames=settings.frames.n_frames, image_size=settings.frames.image_size)
    # What else there is does not matter: fewer networks to count. Tables of positions cost nothing but time.
    sizes = with_fields(Settings(frames=shown, model=model), m=1, l_v=1, l_s=1, positions="none")
    # All modules, all layers of a branch and all classes are alike: the smallest network tells any cost.
    total, module, video, special, one_class = _count(sizes)
    modules = model.m * (module + (model.l_v - 1) * video + (model.l_s - 1) * special)
    return tuple((total - module - one_class + modules + n_classes * one_class).tolist())


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
def _count(settings):
    """Parameters and FLOP of a network of one module, of one class, and of `_PARTS`, shape ``(5, 2)``."""
    frames = settings.frames
    with torch.device("meta"):
        model = HSTA.from_settings(settings, n_classes=1)
        video = torch.empty(1, 3, frames.n_frames, frames.image_size, frames.image_size)
        special = torch.empty(1, 3, 2, frames.image_size, frames.image_size)
    counter = _forward(model, *model.cut(video, special))
    flops = {name: sum(of.values()) for name, of in counter.get_flop_counts().items()}
    parts = ((model.get_submodule(name), f"HSTA.{name}") for name in _PARTS)
    counts = [(_n_parameters(part), flops.get(name, 0)) for part, name in parts]
    return np.array([(_n_parameters(model), counter.get_total_flops()), *counts])


def _n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@lru_cache(maxsize=1024)
def _count_baseline(comparison, n_classes):
    with torch.device("meta"):
        model = baseline_inputs.build(comparison, n_classes)
        if not isinstance(model, torch.nn.Module):
            return 0, 0
        clip = torch.empty(1, *baseline_inputs.input_shape(comparison))
    # A decoder only serves the first stage of a training.
    kept = [p.numel() for name, p in model.named_parameters() if not name.startswith("decoder")]
    return sum(kept), _forward(model.eval(), clip).get_total_flops()


def _forward(model, *inputs):
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter


def plan(settings, cells, n_classes):
    """Size and cost of every cell of a grid, before any is trained.

    Returns ``cells``, from `expand_grid`, with ``parameters`` and ``mflop``, 10^6 FLOP of one clip's forward
    pass.
    """
    counts = [parameters_and_flops(variant, n_classes) for variant in settings_of(settings, cells)]
    return cells.assign(parameters=[n for n, _ in counts], mflop=[flops / 1e6 for _, flops in counts])


def training_flops(trials, datasets):
    """FLOP of each training, a list, evaluation apart: three forward passes of every clip it sees.

    ``datasets`` (dict): by fingerprint; their clips give the folds, no frame is read. A classifier without a
    network has 0, since it costs next to nothing beside one.
    """
    folds, found = {}, []
    for trial in trials:
        dataset, split, training = datasets[trial.fingerprint], trial.settings.split, trial.settings.training
        key = trial.fingerprint, split, trial.seed
        if key not in folds:
            folds[key] = make_folds(dataset.clips, **split.model_dump(), seed=trial.seed)
        _, n_visited = recipe.batch_size_and_clips(len(folds[key][trial.fold].train), training)
        visits = n_visited * (training.pretraining_epochs + training.epochs)
        found.append(_PASSES * visits * parameters_and_flops(trial.settings, len(dataset.classes))[1])
    return found
