"""What a trained network attends to: CLS over space and time (USTA), CLS over the other branch (CSTA).

The weights are computed anew from what each layer was given, as softmax(q k^T) of Eqs. 2 and 9 to 11 says;
the network computes none of them where it trains. Attention says what a token read, not why a class was
chosen.
"""

import dataclasses
import io
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from einops import rearrange, reduce
from IPython.display import Markdown
from pydantic import Field
from scipy.stats import t as student
from torch.nn import functional

from hsta_lib import config, store
from hsta_lib import study as studies
from hsta_lib.data.apex import with_apex
from hsta_lib.data.dataset import Dataset, benchmark
from hsta_lib.data.frames import cache_frames, index_folder
from hsta_lib.data.synthetic import true_flow
from hsta_lib.files import file_digest, write_whole
from hsta_lib.models.hsta import HSTA
from hsta_lib.models.released import load_released_state_dict, our_name, read_released_checkpoint
from hsta_lib.stats import effective_subjects
from hsta_lib.training import seen_batches, train_model
from hsta_lib.trials import NAMED_CELL, Trial

# Whose CLS token reads what: key of the weights to the branch that is read, and its name.
READS = {"usta_video": "video", "usta_special": "special", "csta_video": "special", "csta_special": "video"}
NAMES = {
    "usta_video": "USTA, video branch",
    "usta_special": "USTA, special branch",
    "csta_video": "CSTA, CLS of the video branch reads the special branch",
    "csta_special": "CSTA, CLS of the special branch reads the video branch",
}
MOVING = 0.25  # of the places of a picture: those where the expression moves most

_LONGEST = 1000  # frames of a video; a micro-expression lasts half a second
_FLOW_SIZE = 64  # px of the frames that the true movement is computed for; it does not depend on them
_OWN = "your clip"


class Choice(config.Group):
    """Parameters of the notebook beside `hsta_lib.config.Parameters`."""

    fold: int = Field(0, ge=0)
    checkpoint: str = ""
    clip: str = ""
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


class Network(NamedTuple):
    """A network to look into: ``seen`` marks the classes it was trained on, ``origin`` says where it is from."""

    model: HSTA
    trial: Trial
    seen: np.ndarray
    origin: str


@dataclass(frozen=True)
class Looked:
    """Clips as a network saw them, its class scores, and what its CLS tokens attended to.

    ``clips``: one row per clip, ``label`` -1 where the true class is not known. ``frames``: uint8, shape
    (n_clips, n_frames + 2, h, w, 3), the last two those of the special branch. ``scores``: (n_clips,
    n_classes). ``probabilities``: their softmax over the classes trained on. ``weights``: for each of `READS`
    the mean over heads, float64, shape (n_clips, m, 1 + n_tokens), of the last layer of each module; the first
    entry is the attention of CLS on itself, and each row sums to one. ``grids``: for each branch its tubelets
    over time and side, and the patch in px.
    """

    clips: pd.DataFrame
    frames: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    weights: dict
    grids: dict
    classes: tuple

    def rows(self, rows):
        """The same of some clips, in the order given."""
        return dataclasses.replace(
            self,
            clips=self.clips.iloc[rows].reset_index(drop=True),
            weights={way: values[rows] for way, values in self.weights.items()},
            **{name: getattr(self, name)[rows] for name in ("frames", "scores", "probabilities")},
        )

    def maps(self, way):
        """Attention on each tubelet, shape (n_clips, m, n_times, h, w); without the share of CLS itself."""
        n_times, side, _ = self.grids[READS[way]]
        return rearrange(
            self.weights[way][..., 1:], "clips m (t h w) -> clips m t h w", t=n_times, h=side, w=side
        )

    @property
    def names(self):
        """Title of each clip."""
        kinds = [self.classes[label] if label >= 0 else _OWN for label in self.clips["label"]]
        ids = [clip_id.split("/", 1)[-1] for clip_id in self.clips["clip_id"]]
        return [f"{kind}\n{name}" for kind, name in zip(kinds, ids, strict=True)]

    def overlay(self, way):
        """Arguments of `hsta_lib.plots.attention_maps`: the last module's attention and what it lies on."""
        n_times, _, patch = self.grids[READS[way]]
        is_video = READS[way] == "video"
        frames = self.frames[:, :-2] if is_video else self.frames[:, -2:]
        numbers = [f"frame {i + 1} of {frames.shape[1]}" for i in range(frames.shape[1])]
        return {
            "frames": frames,
            "maps": self.maps(way)[:, -1],
            "patch_size": patch,
            "clip_names": self.names,
            "frame_names": numbers if is_video else ["first special picture", "second special picture"],
        }

    def over_time(self, way):
        """Attention of the last module on CLS itself and on each time, and what equal shares would be.

        Returns
        -------
        shares : ndarray, shape (n_clips, 1 + n_times)
        equal : ndarray, shape (1 + n_times,)
            If CLS and every tubelet got the same.
        """
        own = self.weights[way][:, -1, :1]
        maps = self.maps(way)[:, -1]
        equal = np.concatenate([[1], np.full(maps.shape[1], maps[0, 0].size)])
        return np.concatenate([own, maps.sum(axis=(2, 3))], axis=1), equal / equal.sum()


def start(namespace):
    """Check the notebook's parameters, see `hsta_lib.study.start`, and those that only it has.

    Parameters
    ----------
    namespace : dict
        The notebook's ``globals()``.

    Returns
    -------
    study : hsta_lib.study.Study
    choice : Choice

    Raises
    ------
    ValueError
        As `hsta_lib.study.start`; also if a frame number is given without a clip, or a checkpoint with the
        recipe of the equations.
    """
    own = {name: namespace[name] for name in Choice.model_fields if name in namespace}
    choice = config.validated(Choice, own, "notebook parameters")
    study = studies.start("attention", {key: namespace[key] for key in namespace if key not in own})
    for name in ("onset", "apex", "offset"):
        if getattr(choice, name) is not None and not choice.clip:
            raise ValueError(f"notebook parameters: {name} = {own[name]} is of a clip of your own; give clip")
    if choice.checkpoint and study.parameters.recipe != "released":
        raise ValueError(
            f"notebook parameters: checkpoint = {choice.checkpoint!r} is a network of the authors' code; "
            "give recipe = 'released' with it"
        )
    return study, choice


def open_network(study, dataset, choice):
    """The network of the named setting and one fold, trained or as stored; or the authors' checkpoint.

    Parameters
    ----------
    study : hsta_lib.study.Study
    dataset : hsta_lib.data.dataset.Dataset
    choice : Choice
        ``fold`` and ``checkpoint``; the latter's M, L_v and L_s are those of its tensors.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If there is no such fold, or the checkpoint does not fit the preset's size or the classes.
    FileNotFoundError
        If there is no such checkpoint.
    """
    if not choice.checkpoint:
        return trained(_trial(study, dataset, choice.fold, NAMED_CELL), dataset, config.results_dir())
    path = Path(choice.checkpoint).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"notebook parameters: checkpoint = {choice.checkpoint!r}: no such file")
    state_dict = read_released_checkpoint(path)
    trial = _trial(study, dataset, choice.fold, depths(state_dict))
    model = _untrained(trial, dataset)
    load_released_state_dict(model, state_dict)
    origin = f"the checkpoint `{path.name}` (SHA-256 {file_digest(path)[:16]}…), trained elsewhere"
    return Network(model, trial, np.full(len(dataset.classes), True), origin)


def _trial(study, dataset, fold, cell):
    n_folds = len(study.folds(dataset))
    if fold >= n_folds:
        raise ValueError(f"notebook parameters: fold = {fold}: there are {n_folds}, counted from 0")
    return study.trials(dataset, pd.DataFrame([cell]))[0][fold]  # of the first seed


def depths(state_dict):
    """M, L_v and L_s of a checkpoint of the authors' code, from the names of its tensors.

    Parameters
    ----------
    state_dict : dict of str to Tensor

    Returns
    -------
    dict
        ``m``, ``l_v``, ``l_s``.

    Raises
    ------
    ValueError
        If it has no module, or a branch without layers.
    """
    names = "\n".join(map(our_name, state_dict))
    patterns = {"m": r"^blocks\.(\d+)\.", "l_v": r"\.usta_video\.(\d+)\.", "l_s": r"\.usta_special\.(\d+)\."}
    found = {name: re.findall(pattern, names, re.MULTILINE) for name, pattern in patterns.items()}
    if not all(found.values()):
        raise ValueError("the checkpoint has no modules with USTA in both branches: it is of another network")
    return {name: 1 + max(map(int, numbers)) for name, numbers in found.items()}


def trained(trial, dataset, folder):
    """The network of a trial: as stored, else trained and stored as ``<trial id>.pt``.

    Parameters
    ----------
    trial : hsta_lib.trials.Trial
    dataset : hsta_lib.data.dataset.Dataset
    folder : Path
        Of the results. A file that is damaged or of another trial is replaced, and a line says so.

    Returns
    -------
    Network
        Its class scores are bit-identical to those `hsta_lib.training.fit` gives.
    """
    path = folder / f"{trial.id}.pt"
    model = _untrained(trial, dataset)
    try:
        seen = _restored(model, trial, path)
    except FileNotFoundError:
        seen = None
    except Exception as error:  # pickle, zip and torch each have their own
        print(f"{path.name} is damaged ({str(error).splitlines()[0]}); the network is trained again")
        seen = None
    if seen is None:
        print(f"training fold {trial.fold}, seed {trial.seed}; the network is kept as {path.name}")
        model, seen = train_model(trial, dataset)
        _keep(model, seen, trial, path)
    return Network(model, trial, seen, f"trial `{trial.id}` (fold {trial.fold}, seed {trial.seed})")


def _untrained(trial, dataset):
    with torch.random.fork_rng():
        return HSTA.from_settings(trial.settings, len(dataset.classes))


def _restored(model, trial, path):
    """Put stored weights into a network; returns the classes it was trained on."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["trial"] != trial.description():
        raise ValueError("it is of another trial")
    if not all(torch.isfinite(values).all() for values in content["state_dict"].values()):
        raise ValueError("not all weights are finite")
    model.load_state_dict(content["state_dict"])
    return np.array(content["seen"])


def _keep(model, seen, trial, path):
    weights = {name: values.cpu() for name, values in model.state_dict().items()}
    file = io.BytesIO()
    torch.save({"trial": trial.description(), "seen": seen.tolist(), "state_dict": weights}, file)
    write_whole(path, file.getvalue())


def usta_weights(attention, tokens):
    """Attention of the CLS token over its own branch (Eq. 2).

    Parameters
    ----------
    attention : hsta_lib.models.hsta.SelfAttention
    tokens : Tensor, float, shape (b, 1 + n, d)
        What it was given.

    Returns
    -------
    Tensor, shape (b, heads, 1 + n)
        Rows sum to one; the first entry is CLS itself.
    """
    q, k, _ = rearrange(
        functional.linear(tokens, attention.qkv.weight), "b n (three d) -> three b n d", three=3
    )
    q = q[:, :1] if attention.q_bias is None else q[:, :1] + attention.q_bias
    q, k = (rearrange(x, "b n (heads e) -> b heads n e", heads=attention.heads) for x in (q, k))
    scores = torch.einsum("bhqe,bhne->bhqn", q, k) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1)[:, :, 0]


def csta_weights(attention, cls, features):
    """Attention of a branch's CLS token over itself and the other branch's tubelets (Eqs. 8 to 11).

    Parameters
    ----------
    attention : hsta_lib.models.hsta.CrossAttention
    cls : Tensor, float, shape (b, 1, d)
    features : Tensor, float, shape (b, n, d_other)
        What it was given.

    Returns
    -------
    Tensor, shape (b, heads, 1 + n)
        Rows sum to one; the first entry is CLS itself.
    """
    own = attention.norm(attention.mlp1(cls))
    keys = attention.key(torch.cat([own, attention.norm(features)], dim=1))
    heads = len(attention.rows)
    q, k = (rearrange(x, "b n (heads e) -> b heads n e", heads=heads) for x in (attention.query(own), keys))
    return (torch.einsum("bhqe,bhne->bhqn", q, k) * attention.scale).softmax(dim=-1)[:, :, 0]


def attention_weights(model, video, special):
    """Class scores of clips and what the CLS tokens attended to in every module.

    Parameters
    ----------
    model : hsta_lib.models.hsta.HSTA
        With USTA in both branches and CSTA; put into evaluation mode.
    video, special : Tensor
        As `hsta_lib.models.hsta.HSTA.forward` takes them.

    Returns
    -------
    scores : Tensor, shape (b, n_classes)
    weights : dict of str to Tensor
        For each of `READS` the mean over heads in the last layer of each module, shape (b, m, 1 + n_tokens).

    Raises
    ------
    ValueError
        If the network lacks USTA in a branch or CSTA.
    """
    if any(not block.usta_video or not block.usta_special or not block.csta for block in model.blocks):
        raise ValueError("attention is shown of networks with USTA in both branches and CSTA")
    layers = {
        "usta_video": [block.usta_video[-1].attention for block in model.blocks],
        "usta_special": [block.usta_special[-1].attention for block in model.blocks],
        "csta_video": [block.csta.video for block in model.blocks],
        "csta_special": [block.csta.special for block in model.blocks],
    }
    model.eval()
    with torch.inference_mode(), _inputs_of([layer for of_way in layers.values() for layer in of_way]) as given:
        scores = model(video, special)
        weights = {
            way: torch.stack(
                [(usta_weights if way.startswith("usta") else csta_weights)(layer, *given[layer])
                 for layer in of_way], dim=1,
            ).mean(dim=2)
            for way, of_way in layers.items()
        }  # fmt: skip
    return scores, weights


@contextmanager
def _inputs_of(layers):
    """What each layer is given in a forward pass."""
    given = {}

    def note(layer, inputs):
        given[layer] = inputs

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def look(network, dataset, rows):
    """Run clips through a network and keep what its CLS tokens attended to.

    Parameters
    ----------
    network : Network
    dataset : hsta_lib.data.dataset.Dataset
    rows : ndarray of int
        Rows of the dataset's clips. Frames that are drawn at random are those of the trial's predictions if
        these are the rows of its test fold.

    Returns
    -------
    Looked
    """
    parts = {name: [] for name in ("frames", "scores", *READS)}
    for frames, video, special in seen_batches(network.trial, dataset, rows):
        scores, weights = attention_weights(network.model.to(video.device), video, special)
        for name, values in {"frames": frames, "scores": scores, **weights}.items():
            parts[name].append(values.cpu().numpy())
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    frames, scores = whole.pop("frames"), whole.pop("scores").astype(float)
    among = torch.from_numpy(np.where(network.seen, scores, -np.inf))
    return Looked(
        clips=dataset.clips.iloc[rows].reset_index(drop=True),
        frames=frames,
        scores=scores,
        probabilities=among.softmax(dim=1).numpy(),
        weights={way: values.astype(float) for way, values in whole.items()},
        grids=_grids(network.model, frames.shape[2], frames.shape[1] - 2),
        classes=dataset.classes,
    )


def _grids(model, image_size, n_frames):
    grids = {}
    for branch, embed, n in (("video", model.embed_video, n_frames), ("special", model.embed_special, 2)):
        tubelet, patch, _ = embed.project.kernel_size
        grids[branch] = (n // tubelet, image_size // patch, patch)
    return grids


def first_of_each_class(looked):
    """The clips to show: of each class the first by ``clip_id``, whatever the network makes of it.

    Parameters
    ----------
    looked : Looked
        At the clips of a test fold.

    Returns
    -------
    Looked
        In the order of the classes.
    """
    first = looked.clips.sort_values("clip_id").drop_duplicates("label").sort_values("label")
    return looked.rows(first.index.to_numpy())


def shown_clips(network, dataset, tested, choice):
    """The clip of one's own if there is one, else the first of each class of the test fold.

    Parameters
    ----------
    network : Network
    dataset : hsta_lib.data.dataset.Dataset
    tested : Looked
        At the clips of the network's test fold.
    choice : Choice

    Returns
    -------
    Looked
    """
    return look_at_own(network, dataset, choice) if choice.clip else first_of_each_class(tested)


def look_at_own(network, dataset, choice):
    """Run a clip of one's own through a network; nothing of it is kept on the disk.

    Parameters
    ----------
    network : Network
    dataset : hsta_lib.data.dataset.Dataset
        Of which the classes are taken.
    choice : Choice
        ``clip`` is a video file, whose frames are counted from 1, or a folder of frames, numbered by the last
        integer of their names. Without ``onset`` its first frame is taken, without ``offset`` the last, and
        without ``apex`` the frame most unlike the onset, see `hsta_lib.data.apex.with_apex`.

    Returns
    -------
    Looked
        Of one clip, its label -1.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it cannot be decoded or holds no frames, its frame numbers contradict each other, or its crop needs
        a face that cannot be found.
    """
    frames = network.trial.settings.frames
    if frames.crop == "boxes":
        raise ValueError(
            f"clip = {choice.clip!r}: crop = 'boxes' needs the box of its face; use a preset with crop: face"
        )
    with tempfile.TemporaryDirectory() as folder:
        clips, path = _decoded(choice, frames, Path(folder))
        return look(network, dataclasses.replace(dataset, clips=clips, frames_path=path), np.array([0]))


def _decoded(choice, frames, workshop):
    """Clip table of a clip of one's own, and the file of its frames."""
    where, path = f"clip = {choice.clip!r}", Path(choice.clip).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{where}: no such file or folder")
    folder = path if path.is_dir() else _extracted(path, where, choice, workshop / "frames")
    numbers = _numbers(choice, where, sorted(index_folder(folder)))
    row = {
        "clip_id": f"own/{path.stem}", "subject_id": "own", "folder": folder, **numbers,
        "label": -1, "expression_type": "micro",
    }  # fmt: skip
    clips = pd.DataFrame([row]).astype(dict.fromkeys(numbers, "Int64"))
    clips, estimated = with_apex(clips, "difference", workshop / "cache")
    cached, _, left_out, noted = cache_frames(clips, frames, workshop / "cache")
    if left_out:
        raise ValueError(f"{where} cannot be used: {left_out[0][2]}")
    print("onset {onset}, apex {apex}, offset {offset}".format(**clips.iloc[0]))
    for _, _, problem, action in estimated + noted:
        print(f"{problem}: {action}")
    return clips, cached


def _numbers(choice, where, there):
    if not there:
        raise ValueError(f"{where}: the folder holds no numbered frames (.jpg, .jpeg, .bmp, .png)")
    onset = there[0] if choice.onset is None else choice.onset
    offset = there[-1] if choice.offset is None else choice.offset
    between = onset if choice.apex is None else choice.apex
    if not there[0] <= onset <= between <= offset <= there[-1]:
        raise ValueError(
            f"{where}: onset = {onset}, apex = {choice.apex}, offset = {offset}, but its frames are "
            f"{there[0]} to {there[-1]}, and onset <= apex <= offset is needed"
        )
    return {"onset": onset, "apex": choice.apex, "offset": offset}


def _extracted(path, where, choice, folder):
    """Frames of a video as files, from onset to offset."""
    video = cv2.VideoCapture(str(path))
    first, last, number = choice.onset or 1, choice.offset or np.inf, 0
    folder.mkdir()
    try:
        while number < last and video.grab():
            number += 1
            is_read, image = video.retrieve() if number >= first else (False, None)
            if is_read:
                cv2.imwrite(str(folder / f"{number}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            if number - first >= _LONGEST:
                raise ValueError(f"{where}: more than {_LONGEST} frames; give onset and offset")
    finally:
        video.release()
    if not number:
        raise ValueError(f"{where} cannot be decoded as a video; give another format or a folder of frames")
    if not any(folder.iterdir()):
        raise ValueError(f"{where}: onset = {first}, but only {number} frames can be decoded")
    return folder


def moving_places(spec, clip_ids, image_size, patch_size):
    """The quarter of the places of a branch's grid where a synthetic clip's expression moves most.

    Parameters
    ----------
    spec : hsta_lib.config.Synthetic
    clip_ids : sequence of str
    image_size, patch_size : int
        px.

    Returns
    -------
    ndarray of bool, shape (n_clips, side, side)
        By the mean length of the true movement from onset to apex, without that of the head; as many in each
        clip: a quarter of the places, rounded, and one or more.
    """
    small = spec.model_copy(update={"frame_size": _FLOW_SIZE})
    side = image_size // patch_size
    n_moving = max(1, round(MOVING * side**2))
    moving = np.zeros((len(clip_ids), side * side), dtype=bool)
    for places, clip_id in zip(moving, clip_ids, strict=True):
        length = np.linalg.norm(true_flow(small, clip_id, size=image_size), axis=2)
        read = length[: side * patch_size, : side * patch_size]
        mean = reduce(read, "(h i) (w j) -> (h w)", "mean", i=patch_size, j=patch_size)
        places[np.argsort(-mean, kind="stable")[:n_moving]] = True
    return rearrange(moving, "clips (h w) -> clips h w", h=side)


def share_on_motion(looked, moving):
    """Share of the attention that lies where the clip moves, in every module.

    Attention on tubelets alone counts, all times together. Attention may prefer the places where any face
    moves; so what lies on the moving places of the *other* clips stands beside it.

    Parameters
    ----------
    looked : Looked
        At several clips.
    moving : dict of str to ndarray
        For each branch its `moving_places`.

    Returns
    -------
    DataFrame
        One row per way of `READS` and module (from 1): ``share`` on the clip's own moving places, ``others``
        on those of the other clips, ``difference`` of both, each with ``_low`` and ``_high`` (see
        `subject_interval`); ``chance``, the share of the places that counts as moving. Fractions.
    """
    rows = []
    for way, branch in READS.items():
        on_places = looked.maps(way).sum(axis=2)
        on_places /= on_places.sum(axis=(2, 3), keepdims=True)
        own = np.einsum("cmhw,chw->cm", on_places, moving[branch])
        n_clips = len(own)
        of_others = (moving[branch].sum(axis=0) - moving[branch]) / (n_clips - 1)
        others = np.einsum("cmhw,chw->cm", on_places, of_others)
        for module in range(own.shape[1]):
            row = {"way": way, "module": module + 1, "chance": moving[branch].mean()}
            values = {"share": own, "others": others, "difference": own - others}
            for name, of_clips in values.items():
                found = subject_interval(of_clips[:, module], looked.clips["subject_id"])
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def subject_interval(values, subjects, level=0.95):
    """Mean over clips and its interval: jackknife-t over subjects, as `hsta_lib.stats.score_interval`.

    Parameters
    ----------
    values : ndarray of float, shape (n_clips,)
    subjects : sequence, shape (n_clips,)
    level : float
        Coverage in 0..1.

    Returns
    -------
    mean, low, high : float
        Of one subject the last two are NaN.
    """
    table = pd.DataFrame({"value": np.asarray(values), "subject": np.asarray(subjects)})
    sums, sizes = (table.groupby("subject")["value"].agg(kind).to_numpy() for kind in ("sum", "count"))
    mean, n_subjects = sums.sum() / sizes.sum(), len(sums)
    if n_subjects < 2:
        return mean, np.nan, np.nan
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    error = np.sqrt((n_subjects - 1) * left_out.var())
    reach = student.ppf((1 + level) / 2, max(effective_subjects(sizes) - 1, 1)) * error
    return mean, mean - reach, mean + reach


def motion_of(study, looked):
    """`share_on_motion` of clips of the synthetic benchmark; None where the true movement is not known.

    Parameters
    ----------
    study : hsta_lib.study.Study
    looked : Looked
        At the clips of a test fold.

    Returns
    -------
    DataFrame or None
    """
    frames = study.settings.frames
    if not study.is_synthetic or frames.crop not in ("none", "center_square"):
        return None
    spec = benchmark(study.preset.synthetic, study.parameters.macro_clips)
    moving = {
        branch: moving_places(spec, looked.clips["clip_id"], frames.image_size, patch)
        for branch, (_, _, patch) in looked.grids.items()
    }
    return share_on_motion(looked, moving)


def conclude(table):
    """What `motion_of` found in the last module, as sentences made from its numbers.

    Parameters
    ----------
    table : DataFrame or None

    Returns
    -------
    IPython.display.Markdown
    """
    if table is None:
        return Markdown("Where these clips move is not known: nothing is said about attention and movement.")
    lines = []
    for row in table[table["module"] == table["module"].max()].itertuples():
        lines.append(
            f"- {NAMES[row.way]}: {_percent(row.share)} {_span(row.share_low, row.share_high)} of the attention "
            f"on tubelets lies on the {_percent(row.chance)} of places where the clip's expression moves most: "
            f"**{_against(row.share_low, row.share_high, row.chance, 'chance')}**. On the places that move in "
            f"the other clips lies {_percent(row.others)}; the difference is {100 * row.difference:+.1f} points "
            f"{_span(row.difference_low, row.difference_high)}, "
            f"**{_against(row.difference_low, row.difference_high, 0, 'zero')}**."
        )
    return Markdown("\n".join(lines))


def _percent(share):
    return f"{100 * share:.1f} %"


def _span(low, high):
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _against(low, high, value, name):
    if low > value:
        return f"above {name}"
    return f"below {name}" if high < value else f"not distinguishable from {name}"


def describe(network, shown, choice):
    """Which clips are shown, by what rule, and what the network makes of them.

    Parameters
    ----------
    network : Network
    shown : Looked
    choice : Choice

    Returns
    -------
    IPython.display.Markdown
    """
    rule = f"The first clip of each class, by its id, of the test fold {network.trial.fold}."
    if choice.checkpoint:
        rule += " Whether the checkpoint was trained on them is not known here."
    if choice.clip:
        rule = f"A clip of your own: `{Path(choice.clip).name}`; its true class is not known here."
    best = shown.probabilities.argmax(axis=1)
    right = int((best == shown.clips["label"]).sum())
    lines = [rule, "", f"The network: {network.origin}."]
    if not choice.clip:
        lines.append(f"It predicts {right} of these {len(best)} clips rightly; guessing, about one in "
                     f"{len(shown.classes)} would be right.")  # fmt: skip
    elif network.trial.settings.training.loss == "mse" and not choice.checkpoint:
        lines.append(f"It says `{shown.classes[best[0]]}`.")
    return Markdown("\n".join(lines))


def provenance(study, dataset, network):
    """Where the figures come from: code, network, data.

    Parameters
    ----------
    study : hsta_lib.study.Study
    dataset : hsta_lib.data.dataset.Dataset
    network : Network

    Returns
    -------
    DataFrame
        One row per fact.
    """
    facts = {
        "code that made this report": store.code_version(),
        "network": network.origin.replace("`", ""),
        "preset": study.preset_name,
        "recipe": study.parameters.recipe,
        "data": study.data_name,
        "data fingerprint": dataset.fingerprint,
    }
    return pd.DataFrame({"fact": facts})
