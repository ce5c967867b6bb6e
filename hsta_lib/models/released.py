"""Checkpoints of the authors' code (``_model_hsta.py``), loaded into our network."""

import argparse
import re
from pathlib import PurePosixPath

import numpy as np
import torch

# Beginnings and middles of their tensors' names and of ours; @0 is their first branch, the special one.
_NAMES = (
    (r"^patch_embed\.(\d)\.proj\.", r"embed_@\1.project."),
    (r"^cls_token\.(\d)$", r"embed_@\1.cls"),
    (r"^norm\.(\d)\.", r"norm_@\1."),
    (r"^(blocks\.\d+)\.blocks\.(\d)\.", r"\1.usta_@\2."),
    (r"^(blocks\.\d+)\.projs\.(\d)\.", r"\1.csta.@\2.mlp1."),
    (r"^(blocks\.\d+)\.revert_projs\.(\d)\.", r"\1.csta.@\2.mlp2."),
    (r"^(blocks\.\d+)\.fusion\.(\d)\.(attn\.)?", r"\1.csta.@\2."),
    (r"(csta\.@\d\.|\.)norm1\.", r"\1norm."),
    (r"(usta_@\d\.\d+)\.attn\.", r"\1.attention."),
    (r"\.wq\.", ".query."),
    (r"\.wk\.", ".key."),
    (r"\.wv\.", ".value."),
    (r"\.proj\.", ".projection.0."),
    (r"\.mlp\.fc1\.", ".feed_forward.0."),
    (r"\.mlp\.fc2\.", ".feed_forward.3."),
    (r"@0", "special"),
    (r"@1", "video"),
)
_KEYS = ("model", "module", "state_dict", "model_state_dict")  # where trainers put the weights
_PATHS = [f"{kind}{flavour}Path" for kind in ("", "Pure") for flavour in ("Posix", "Windows")]
# Types beside tensors and plain values that may stand in a checkpoint; of any system and numpy.
_ALLOWED = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?" + np.typecodes["AllInteger"] + np.typecodes["Float"]},
    *((PurePosixPath, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(
        (np.generic.__reduce__(np.float64(0))[0], f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
]


def load_released_state_dict(model, state_dict):
    """Put the weights of the authors' network into ours.

    Parameters
    ----------
    model : hsta_lib.models.hsta.HSTA
        Built with the recipe ``released``, with the checkpoint's M, L_v and L_s. Position tables are not in
        their files: frame count and image size are this model's.
    state_dict : dict of str to Tensor
        As their ``VisionTransformer.state_dict()``. If a tensor is missing, not known here, or of another
        shape, a ValueError names it as they do.
    """
    theirs = {our_name(name): name for name in state_dict}
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    unknown = [name for ours, name in theirs.items() if ours not in wanted]
    missing = [name for name in wanted if name not in theirs]
    if unknown or missing:
        raise ValueError(
            f"the checkpoint is of another configuration: {_some('not used here', unknown)}"
            f"{_some('not in the checkpoint (our names)', missing)}check m, l_v, l_s and the recipe"
        )
    ours = {name: state_dict[theirs[name]] for name in wanted}
    for name, shape in wanted.items():
        if ours[name].shape != shape:
            raise ValueError(f"{theirs[name]} has shape {tuple(ours[name].shape)}, {tuple(shape)} is needed")
    d_special = model.norm_special.weight.shape[0]
    # Their head reads the special branch's CLS token first, ours the video branch's.
    ours["head.weight"] = ours["head.weight"].roll(-d_special, dims=1)
    model.load_state_dict(ours)


def our_name(name):
    """Our name of a tensor of theirs.

    Examples
    --------
    >>> our_name("blocks.2.blocks.1.0.attn.qkv.weight"), our_name("cls_token.0")
    ('blocks.2.usta_video.0.attention.qkv.weight', 'embed_special.cls')
    """
    for theirs, ours in _NAMES:
        name = re.sub(theirs, ours, name)
    return name


def checkpoint_file(path):
    """A file of weights; of a folder that DeepSpeed writes, ``mp_rank_00_model_states.pt`` in it.

    A FileNotFoundError if there is no such file, or no or several in the folder.
    """
    files = sorted(path.glob("*model_states.pt")) if path.is_dir() else [path] * path.is_file()
    if len(files) != 1:
        raise FileNotFoundError(f"checkpoint = {path}: no file, nor a folder with one *model_states.pt")
    return files[0]


def read_released_checkpoint(path):
    """State dict of a checkpoint, as trainers save it, by the tensors' names.

    Without what DataParallel (``module.``) and ``torch.compile`` (``_orig_mod.``) put before the names.

    Parameters
    ----------
    path : Path
        See `checkpoint_file`. A bare state dict, or one under ``model``, ``module``, ``state_dict`` or
        ``model_state_dict``; beside it may stand what trainers add: plain values, tensors, numpy numbers,
        paths and an ``argparse.Namespace``.

    Raises
    ------
    ValueError
        If the file is truncated, or holds anything else; the message names its type. Nothing of it is run.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # pickle, zip and torch each have their own
        raise ValueError(f"{path} cannot be read as a checkpoint of tensors ({_reason(error)})") from None
    found = [content.get(name) for name in _KEYS] if isinstance(content, dict) else []
    state_dict = next((value for value in found if isinstance(value, dict)), content)
    if not isinstance(state_dict, dict) or not all(torch.is_tensor(value) for value in state_dict.values()):
        raise ValueError(
            f"{path} holds no state dict, neither bare nor under {' or '.join(map(repr, _KEYS))}"
        )
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in state_dict.items()}


def _reason(error):
    """What torch refuses, in one line, without its advice to run the file: the type, if it names one."""
    refused = re.search(r"GLOBAL (\S+)", re.sub(r"\x1b\[[0-9;]*m", "", str(error)))
    if refused:
        return f"it holds {refused[1]}, which is not read; save model.state_dict() alone"
    return "it is cut off, or torch.save did not write it, or not of tensors and plain values alone"


def _some(what, names):
    return f"{len(names)} tensors {what}, the first {names[0]}; " if names else ""
