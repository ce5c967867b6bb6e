"""What a trained network attends to: CLS over space and time (USTA), CLS over the other branch (CSTA).

The weights are computed anew from what each layer was given, as softmax(q k^T) of Eqs. 2 and 9 to 11 says;
the network computes none of them where it trains. Attention says what a token read, not why a class was
chosen.
"""

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from einops import rearrange, reduce
from IPython.display import Markdown
from pydantic import Field, model_validator
from torch.nn import functional

from hsta_lib import config
from hsta_lib.attention import own_clip
from hsta_lib.attention.networks import depths
from hsta_lib.data.dataset import benchmark
from hsta_lib.data.flow import optical_flow
from hsta_lib.data.splits import HOLDOUT
from hsta_lib.data.synthetic.clips import true_flow
from hsta_lib.evaluation.intervals import jackknife
from hsta_lib.models.released import checkpoint_file, read_released_checkpoint
from hsta_lib.reporting.tables import code, number, of_facts, position, with_span
from hsta_lib.study import study as studies
from hsta_lib.training import store
from hsta_lib.training.batches import seen_batches

# Whose CLS token reads what: key of the weights to the branch that is read, and its name.
READS = {"usta_video": "video", "usta_special": "special", "csta_video": "special", "csta_special": "video"}
NAMES = {
    "usta_video": "USTA, video branch",
    "usta_special": "USTA, special branch",
    "csta_video": "CSTA, CLS of the video branch reads the special branch",
    "csta_special": "CSTA, CLS of the special branch reads the video branch",
}
MOVING = 0.25  # of the places of a picture: those where the expression moves most

_FLOW_SIZE = 64  # px of the frames that the true movement is computed for; it does not depend on them
_OWN = "your clip"
_PICTURES = {"frames": ("onset", "apex")}  # else pictures of movement


class Choice(config.Group):
    """Parameters of the notebook beside `hsta_lib.config.Parameters`."""

    fold: int = Field(0, ge=0)
    checkpoint: str = ""
    clip: str = ""
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None

    @model_validator(mode="after")
    def _frame_numbers_of_a_clip(self):
        given = {name: getattr(self, name) for name in ("onset", "apex", "offset")}
        given = {name: number for name, number in given.items() if number is not None}
        if given and not self.clip:
            name, number = next(iter(given.items()))
            raise ValueError(f"{name} = {number} is of a clip of your own; give clip, or leave it None")
        if list(given.values()) != sorted(given.values()):
            words = ", ".join(f"{name} = {number}" for name, number in given.items())
            raise ValueError(f"{words}: onset <= apex <= offset is needed")
        return self


@dataclass(frozen=True)
class Looked:
    """Clips as a network saw them, its class scores, and what its CLS tokens attended to.

    ``clips``: one row per clip, ``label`` -1 where the true class is not known. ``frames``: uint8, shape
    (n_clips, n_frames + 2, h, w, 3), the last two those of the special branch. ``scores``: (n_clips,
    n_classes). ``probabilities``: their softmax over the classes trained on. ``weights``: for each of `READS`
    the mean over heads, float64, shape (n_clips, m, 1 + n_tokens), of the last layer of each module; the
    first entry is the attention of CLS on itself, and each row sums to one. ``grids``: of each branch the
    number of tubelets over time and along a side, and the patch in px. ``pictures``: what the two of the
    special branch are.
    """

    clips: pd.DataFrame
    frames: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    weights: dict
    grids: dict
    pictures: tuple
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
        """Arguments of `plots.attention_maps`: the last module's attention and what it lies on."""
        is_video = READS[way] == "video"
        frames = self.frames[:, :-2] if is_video else self.frames[:, -2:]
        numbers = [f"frame {i + 1} of {frames.shape[1]}" for i in range(frames.shape[1])]
        return {
            "frames": frames,
            "maps": self.maps(way)[:, -1],
            "patch_size": self.grids[READS[way]][2],
            "clip_names": self.names,
            "frame_names": numbers if is_video else self.pictures,
        }

    def over_time(self, way):
        """Attention of the last module on CLS itself and on each time, shape (n_clips, 1 + n_times).

        Second, shape (1 + n_times,), what it would be if CLS and every tubelet got the same.
        """
        own = self.weights[way][:, -1, :1]
        maps = self.maps(way)[:, -1]
        equal = np.concatenate([[1], np.full(maps.shape[1], maps[0, 0].size)])
        return np.concatenate([own, maps.sum(axis=(2, 3))], axis=1), equal / equal.sum()


def start(name, namespace):
    """The study and the `Choice` of the notebook's parameters, as by `hsta_lib.study.study.start`.

    Raises
    ------
    ValueError, FileNotFoundError
        As `hsta_lib.study.study.start` and `own_clip.check`; also if a checkpoint comes without the recipe
        ``released``, with seeds, or is not there.
    """
    study, choice = start_with(Choice, name, namespace)
    if choice.checkpoint and study.parameters.recipe != "released":
        raise ValueError(
            f"notebook parameters: checkpoint = {choice.checkpoint!r} is a network of the authors' code; "
            "give recipe = 'released' with it"
        )
    if choice.checkpoint and "seeds" in study.given and study.settings.split.split != HOLDOUT:
        raise ValueError("notebook parameters: seeds has no effect with checkpoint; leave it out")
    if choice.checkpoint:
        depths(read_released_checkpoint(checkpoint_file(Path(choice.checkpoint).expanduser())))
    if choice.clip:
        own_clip.check(choice, study.settings.frames)
    return study, choice


def start_with(kind, name, namespace):
    """The study of a notebook that has parameters of its own, and these: a ``kind`` of `config.Group`."""
    own = {key: namespace[key] for key in kind.model_fields if key in namespace}
    choice = config.validated(kind, own, "notebook parameters")
    study = studies.start(name, {key: namespace[key] for key in namespace if key not in own})
    _check_fold(choice.fold, study.settings.split)
    given = {key: value for key, value in choice.model_dump().items() if value != getattr(kind(), key)}
    return dataclasses.replace(study, given=study.given | given), choice


def _check_fold(fold, split):
    """Refuse a fold that there is not, where their number does not hang on the data as that of loso does."""
    usual = {"subject": split.n_folds, "paper": split.n_folds, "subject_seen": 2 * split.n_folds}
    n_folds = (usual | {"authors": 5, HOLDOUT: 1}).get(split.split, np.inf)
    if fold >= n_folds:
        raise ValueError(
            f"notebook parameters: fold = {fold}: split {split.split!r} has {n_folds}, counted from 0"
        )


def usta_weights(attention, tokens):
    """Attention of CLS over its own branch (Eq. 2): (b, heads, 1 + n), CLS itself first."""
    q, k, _ = rearrange(
        functional.linear(tokens, attention.qkv.weight), "b n (three d) -> three b n d", three=3
    )
    q = q[:, :1] if attention.q_bias is None else q[:, :1] + attention.q_bias
    q, k = (rearrange(x, "b n (heads e) -> b heads n e", heads=attention.heads) for x in (q, k))
    scores = torch.einsum("bhqe,bhne->bhqn", q, k) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1)[:, :, 0]


def csta_weights(attention, cls, features):
    """Attention of a branch's CLS over itself and the other's tubelets (Eqs. 8 to 11): (b, heads, 1 + n)."""
    own = attention.norm(attention.mlp1(cls))
    keys = attention.key(torch.cat([own, attention.norm(features)], dim=1))
    heads = len(attention.rows)
    q, k = (rearrange(x, "b n (heads e) -> b heads n e", heads=heads) for x in (attention.query(own), keys))
    return (torch.einsum("bhqe,bhne->bhqn", q, k) * attention.scale).softmax(dim=-1)[:, :, 0]


def attention_weights(model, video, special):
    """Class scores; of each of `READS` the mean over heads in the last layer of each module."""
    if any(not block.usta_video or not block.usta_special or not block.csta for block in model.blocks):
        raise ValueError("attention is shown of networks with USTA in both branches and CSTA")
    layers = {
        "usta_video": [block.usta_video[-1].attention for block in model.blocks],
        "usta_special": [block.usta_special[-1].attention for block in model.blocks],
        "csta_video": [block.csta.video for block in model.blocks],
        "csta_special": [block.csta.special for block in model.blocks],
    }
    model.eval()
    with torch.inference_mode(), _inputs_of(layers) as given:
        scores = model(video, special)
        weights = {}
        for way, of_way in layers.items():
            weigh = usta_weights if way.startswith("usta") else csta_weights
            weights[way] = torch.stack([weigh(layer, *given[layer]).mean(dim=1) for layer in of_way], dim=1)
    return scores, weights


@contextmanager
def _inputs_of(layers):
    """What each layer is given in a forward pass."""
    given = {}

    def note(layer, inputs):
        given[layer] = inputs

    hooks = [layer.register_forward_pre_hook(note) for of_way in layers.values() for layer in of_way]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def look(network, dataset, rows):
    """Run clips through a network and keep what its CLS tokens attended to.

    ``rows``: rows of the dataset's clips. Frames that are drawn at random are those of the trial's
    predictions if these are the rows of its test fold.
    """
    parts = {name: [] for name in ("frames", "scores", *READS)}
    for frames, video, special in seen_batches(network.trial, dataset, rows, network.model.cut):
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
        pictures=_PICTURES.get(network.trial.settings.frames.special, ("onset to apex", "apex to offset")),
        classes=dataset.classes,
    )


def _grids(model, image_size, n_frames):
    grids = {}
    for branch, embed, n in (("video", model.embed_video, n_frames), ("special", model.embed_special, 2)):
        tubelet, patch, _ = embed.project.kernel_size
        grids[branch] = (n // tubelet, image_size // patch, patch)
    return grids


def first_of_each_class(looked):
    """Of each class the first clip by its id, in the order of classes, whatever the network makes of it."""
    first = looked.clips.sort_values("clip_id").drop_duplicates("label").sort_values("label")
    return looked.rows(first.index.to_numpy())


def shown_clips(network, dataset, tested, choice):
    """The clip of one's own if there is one, else the first of each class of the test fold, of ``tested``."""
    if not choice.clip:
        return first_of_each_class(tested)
    with own_clip.own_clip(choice, network.trial.settings.frames, dataset) as own:
        return look(network, own, np.array([0]))


def moving_places(spec, clip_ids, image_size, patch_size):
    """Where synthetic clips move most, without movement of the head: bool, (n_clips, side, side)."""
    small = spec.model_copy(update={"frame_size": _FLOW_SIZE})
    lengths = (np.linalg.norm(true_flow(small, clip_id, size=image_size), axis=2) for clip_id in clip_ids)
    return np.stack([_most_moving(length, patch_size) for length in lengths])


def _most_moving(length, patch_size):
    """The quarter of places with the largest mean length of movement, shape (side, side)."""
    side = len(length) // patch_size
    read = length[: side * patch_size, : side * patch_size]
    mean = reduce(read, "(h i) (w j) -> (h w)", "mean", i=patch_size, j=patch_size)
    moving = np.zeros(side * side, dtype=bool)
    moving[np.argsort(-mean, kind="stable")[: max(1, round(MOVING * side**2))]] = True
    return moving.reshape(side, side)


def share_on_motion(looked, moving):
    """Share of the attention, in every module, on tubelets where the clip moves: the table of `motion_of`."""
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
    """Mean over clips and its interval: jackknife-t over subjects; of one subject the ends are NaN."""
    table = pd.DataFrame({"value": np.asarray(values), "subject": np.asarray(subjects)})
    sums, sizes = (table.groupby("subject")["value"].agg(kind).to_numpy() for kind in ("sum", "count"))
    mean, n_subjects = sums.sum() / sizes.sum(), len(sums)
    if n_subjects < 2:
        return mean, np.nan, np.nan
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    found = jackknife([(np.full((1, 1, 1), mean), left_out[None, None, :, None])], sizes, level)
    return mean, found.low.item(), found.high.item()


def motion_of(study, looked, choice):
    """Where attention and movement are compared: on your clip if there is one, else on a test fold.

    In every module: ``share``, in fractions, of the attention on tubelets that lies where the clip moves.
    Attention may prefer the places where any face moves: beside it stands what lies on the moving places of
    the *other* clips, ``others``, and the ``difference``. Each has ``_low`` and ``_high``; of one clip there
    is but the share. None where the movement is not known. ``looked``: at your clip, or at the clips of a
    test fold.
    """
    if choice.clip:
        return _motion_of_own(looked)
    frames = study.settings.frames
    if not study.is_synthetic or frames.crop not in ("none", "center_square"):
        return None
    spec = benchmark(study.preset.synthetic, study.parameters.macro_clips)
    moving = {
        branch: moving_places(spec, looked.clips["clip_id"], frames.image_size, patch)
        for branch, (_, _, patch) in looked.grids.items()
    }
    return share_on_motion(looked, moving)


def _motion_of_own(looked):
    """As `share_on_motion`, of one clip whose movement is measured: the flow from onset to apex."""
    if looked.pictures != _PICTURES["frames"]:
        return None
    length = np.linalg.norm(optical_flow(*looked.frames[0, -2:], "dis"), axis=2)
    rows = []
    for way, branch in READS.items():
        moving = _most_moving(length, looked.grids[branch][2])
        on_places = looked.maps(way)[0].sum(axis=1)
        shares = on_places[:, moving].sum(axis=1) / on_places.sum(axis=(1, 2))
        rows += [
            {"way": way, "module": module, "chance": moving.mean(), "share": share}
            for module, share in enumerate(shares, start=1)
        ]
    columns = [f"{name}{end}" for name in ("share", "others", "difference") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows).reindex(columns=["way", "module", "chance", *columns])


def conclude(table):
    """What `motion_of` found in the first and the last module, as sentences made from its numbers."""
    if table is None:
        return Markdown("Where these clips move is not known: nothing is said about attention and movement.")
    ends = table[table["module"].isin([1, table["module"].max()])]
    rows = [row for _, row in ends.iterrows()]
    most = table.iloc[table["share"].argmax()]
    shares = f"{number(100 * most['share'])} %, chance {number(100 * most['chance'])} %"
    lines = [f"- **Most where the clip moves: {NAMES[most['way']]}, module {most['module']}, {shares}.**"]
    lines += [f"- {NAMES[row['way']]}, module {row['module']}: {_on_motion(row)}" for row in rows]
    places, is_own = number(100 * table["chance"].iloc[0]), table["others"].isna().all()
    which = "of your clip, by its optical flow" if is_own else "by the clip's expression"
    lines.append(
        f"- Counted is the attention of one network on the {places} % of places that move most, {which}."
    )
    return Markdown("\n".join(lines))


def _on_motion(row):
    percent = {name: 100 * row[name] for name in row.index if name not in ("way", "module")}
    if np.isnan(row["others"]):
        return f"{number(percent['share'])} % lies where the clip moves; one clip has no interval."
    chance, zero = (
        position(percent[f"{name}_low"], percent[f"{name}_high"], value, said)
        for name, value, said in (("share", percent["chance"], "chance"), ("difference", 0, "zero"))
    )
    return (
        f"{with_span(percent, 'share', unit='%')} lies where the clip moves, **{chance}**; "
        f"{with_span(percent, 'difference', '+', 'points')} more than where the other clips move, **{zero}**."
    )


def describe(study, network, shown, choice):
    """Which clips are shown, by what rule, and what the network makes of them."""
    best = shown.probabilities.argmax(axis=1)
    right = int((best == shown.clips["label"]).sum())
    if choice.clip:
        which = f"A clip of your own, {code(Path(choice.clip).name)}; its true class is not known here."
        found = f"Its most probable class by the network is {shown.classes[best[0]]}."
    else:
        which = f"The first clip of each class, by its id, of test fold {network.trial.fold}."
        found = f"Of these {len(best)} clips the network predicts {right} rightly."
    if choice.checkpoint and not choice.clip:
        which += " Whether the checkpoint was trained on them is not known here."
    if choice.clip and study.is_synthetic and not choice.checkpoint:
        found += " **It was trained on synthetic faces alone: of a real face that says nothing.**"
    return Markdown(f"{which}\n\nThe network is {network.origin}. {found}")


def provenance(study, dataset, network):
    """Where the figures come from: code, network, data, a row per fact."""
    facts = {
        "code that made this report": store.code_version(),
        "network": network.origin.replace("`", ""),
        "preset": study.preset_name,
        "recipe": study.parameters.recipe,
        "data": study.data_name,
        "data fingerprint": dataset.fingerprint,
    }
    return of_facts(facts)
