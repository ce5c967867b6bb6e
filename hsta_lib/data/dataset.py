"""Open a dataset: sheet and folders, clip table, frames, fingerprint, in one call."""

import hashlib
import inspect
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib.config import Frames
from hsta_lib.data.apex import with_apex
from hsta_lib.data.cache import cached_rows
from hsta_lib.data.depth import cache_depth
from hsta_lib.data.faces import given_boxes
from hsta_lib.data.flow import cache_flow
from hsta_lib.data.frames import cache_frames
from hsta_lib.data.readers import clones, flow_images
from hsta_lib.data.readers.authors_lists import check_clone, with_folds
from hsta_lib.data.readers.rows import compare_counts
from hsta_lib.data.synthetic import build
from hsta_lib.data.table import DATASETS, LackingError, class_names, labelled, problems_table, without_class
from hsta_lib.data.twins import OF_FLOW, near_twins
from hsta_lib.files import text_digest

_CLONE_OF_CASME3 = "external/CAS-ME-3"  # with lists of bad frames
_BOXES = "face_boxes.csv"  # in the dataset's folder, for crop = "boxes"


@dataclass(frozen=True)
class Dataset:
    """Clips, their frames, and what was wrong with others. Small to pickle: the pixels stay on disk.

    ``outside`` counts the clips, by class, that the label set has no place for; ``version`` names the release
    and the sheet that were found; ``counts`` are the clips per emotion of the sheet beside those expected;
    ``crop`` is that of the frames. ``shows_flow``: so many pictures of flow and strain stand for
    the frames of a clip, see `hsta_lib.data.readers.flow_images`. ``depth_path``: see `with_depth`.
    ``held_out``: ids of the clips that a holdout tests; empty where all are tested.
    """

    clips: pd.DataFrame
    frames_path: Path | None  # None: only counted, see `hsta_lib.commands.plan`
    classes: tuple[str, ...]
    problems: pd.DataFrame
    outside: dict[str, int]
    fingerprint: str
    version: str
    counts: pd.DataFrame
    crop: str = "none"
    shows_flow: int = 0
    depth_path: Path | None = None
    held_out: frozenset = frozenset()

    @property
    def tested(self):
        """The clips that are tested: micro-expressions; of a holdout those held out."""
        is_micro = self.clips["expression_type"] != "macro"
        return self.clips[is_micro & self.clips["clip_id"].isin(self.held_out) if self.held_out else is_micro]

    @property
    def files(self):
        """Paths of the files that hold its pixels, and depth if it has been asked for."""
        return [path for path in (self.frames_path, self.depth_path) if path]

    def frames(self):
        """Memory map, uint8, shape ``(n_clips, n_stored + 2, size, size, 3)``; last two: onset, apex.

        See `hsta_lib.data.frames.cache_frames`. Copy-on-write: what is written to it never reaches the file.
        """
        return np.load(self.frames_path, mmap_mode="c")

    def flow(self, size, method="dis"):
        """Optical flow from onset to apex: memory map, float32, shape ``(n_clips, size, size, 3)``.

        u and v in px, and the strain; see `hsta_lib.data.flow.cache_flow`. Of frames, not of pictures of
        tracks (``special = "tracks"``). With ``shows_flow``, what the given pictures hold, 0..255.
        """
        return np.load(self.flow_path(size, method), mmap_mode="c")

    def flow_path(self, size, method="dis"):
        """File of `flow`, written if it is not there."""
        if self.shows_flow:
            return flow_images.cache_resized(self.frames_path, self.clips["clip_id"], size)
        return cache_flow(self.frames_path, self.clips["clip_id"], method=method, size=size)

    def with_depth(self, size):
        """The dataset with the change of depth of each clip, which then counts in its fingerprint.

        Its ``depth_path`` is a file of float32, ``(n_clips, size, size)``, without unit, ``size`` in px; see
        `hsta_lib.data.depth.cache_depth`. A ValueError if the frames are cropped, as depth maps are not, or a
        clip has no depth maps that can be read.
        """
        if self.crop != "none":
            raise ValueError(f"crop = {self.crop!r}: depth maps are not cropped; choose crop = 'none'")
        path, digest, problems = cache_depth(self.clips, size, self.frames_path.parent.parent)
        if problems:
            where, clip_id, problem, _ = problems[0]
            raise ValueError(
                f"{len(problems)} of {len(self.clips)} clips lack depth, the first is {clip_id}: {where}: "
                f"{problem}; every clip needs depth maps of its onset and apex"
            )
        return replace(self, depth_path=path, fingerprint=text_digest(self.fingerprint + digest))


def read_dataset(parameters, preset, data_dir):
    """Read the clip table of the dataset a notebook asks for, no frame yet: its root, and a `rows.Listing`.

    Parameters
    ----------
    parameters : hsta_lib.config.Parameters
        ``dataset``, ``data_root``, ``variant``, ``repair`` and ``macro_clips`` are used.
    preset : hsta_lib.config.Preset
        ``synthetic``: what to generate.
    data_dir : Path
        Where generated data is kept.

    Raises
    ------
    ValueError
        If a real dataset comes without ``data_root``, or no clip of its sheet can be used.
    FileNotFoundError
        If the root does not hold what the reader needs.
    """
    _check_choices(parameters)
    if parameters.dataset == "synthetic":
        spec = benchmark(preset.synthetic, parameters.macro_clips)
        root = build.ensure(parameters.variant, spec, data_dir)
    else:
        root = _given_root(parameters)
    is_real = parameters.dataset != "synthetic"
    read = _reader(parameters.layout)
    chosen = {"variant": parameters.variant} if parameters.variant and is_real else {}
    chosen |= {"official": False} if "official" in _choices(read) and not is_real else {}
    exceptions = clones.given_folder(_CLONE_OF_CASME3)
    if is_real and "exceptions" in _choices(read) and exceptions.exists():
        chosen["exceptions"] = exceptions
    chosen |= {"macro": True} if parameters.macro_clips != "none" else {}
    reading = read(root, dataset=parameters.layout, repair=parameters.repair, **chosen)
    if reading.clips.empty:
        first = (
            f"the first: {reading.problems.iloc[0].to_dict()}" if len(reading.problems) else "it lists none"
        )
        raise ValueError(f"{root}: no clip of the annotation sheet can be used; {first}")
    return root, reading


def _reader(dataset):
    """What reads a dataset: ``read`` of the file with its name; synthetic faces are laid out as CAS(ME)^3."""
    return _file_of(dataset).read


def _file_of(dataset):
    name = {"synthetic": "casme3", "megc2019_flow": "flow_images"}.get(dataset, dataset)
    return import_module(f"hsta_lib.data.readers.{name}")


def _choices(read):
    """What a reader can be asked for: ``variant``, ``macro``, ``exceptions``, ...; see their files."""
    return inspect.signature(read).parameters


def with_macro():
    """Names of the datasets whose macro-expressions are read."""
    return [name for name in DATASETS if "macro" in _choices(_reader(name))]


def check_given(parameters):
    """Refuse what can be seen to be wrong before anything is read; as `open_dataset`, which would later."""
    _check_choices(parameters)
    if parameters.dataset != "synthetic" and not parameters.shows_flow:
        _given_root(parameters)
    if parameters.lists_root:
        check_clone(parameters.lists_root)


def _check_choices(parameters):
    """Refuse what the dataset does not have."""
    if parameters.variant and parameters.dataset != "synthetic" and not parameters.shows_flow:
        known = getattr(_file_of(parameters.dataset), "VARIANTS", ())
        if parameters.variant not in known:
            choices = (
                f"choose one of {', '.join(known)}" if known else f"{parameters.dataset} has no variants"
            )
            raise ValueError(f"variant = {parameters.variant!r} is unknown; {choices}, or leave it empty")
    if parameters.macro_clips != "none" and parameters.layout not in with_macro():
        raise LackingError(
            f"macro_clips = {parameters.macro_clips!r}: {parameters.layout} has no macro-expressions that "
            f"are read; datasets with them: {', '.join(with_macro())}"
        )
    if parameters.shows_flow and parameters.variant not in ("", *flow_images.VARIANTS, flow_images.BOTH):
        known = ", ".join(flow_images.VARIANTS)
        raise ValueError(f"variant = {parameters.variant!r}: published pictures of flow are {known}")
    if parameters.shows_flow and parameters.repair != "repaired":
        raise ValueError(
            f"repair = {parameters.repair!r}: pictures of flow have no frame numbers to repair; leave it out"
        )


def _given_root(parameters):
    if parameters.shows_flow and not parameters.data_root:
        return clones.given_folder(f"external/{flow_images.VARIANTS.get(parameters.variant or 'htnet', '')}")
    if not parameters.data_root:
        raise ValueError(
            f"dataset = {parameters.dataset!r} needs the folder that holds it: -p data_root /path/to/it"
        )
    return clones.given_folder(parameters.data_root)


def benchmark(spec, macro_clips):
    """What to generate: as many macro clips as micro clips, where some are asked for and none are given."""
    if macro_clips == "none" or spec.n_macro:
        return spec
    return spec.model_copy(update={"n_macro": spec.n_micro})


def open_dataset(parameters, preset, data_dir):
    """Open the dataset a notebook asks for, its frames decoded; of megc2019_flow, pictures instead of frames.

    Its fingerprint is a hash of the cached pixels, of the clips' ids, subjects, recordings and labels: of
    content, never of paths or times.

    Parameters
    ----------
    parameters : hsta_lib.config.Parameters
        As for `read_dataset`, and ``labels``.
    preset : hsta_lib.config.Preset
        As for `read_dataset`, and ``frames`` (which frames, what size).
    data_dir : Path
        Where generated data and frame caches are kept.

    Raises
    ------
    ValueError, FileNotFoundError
        As `read_dataset`; also if no clip has a label or none could be decoded.
    """
    _check_choices(parameters)
    if parameters.shows_flow:
        return _open_flow_images(parameters, preset.frames, data_dir / "cache")
    root, reading = read_dataset(parameters, preset, data_dir)
    outside, unknown = without_class(reading.clips, parameters.labels)
    clips = _with_classes(reading, parameters)
    is_macro = clips["expression_type"] == "macro"
    if parameters.split == "authors" and parameters.lists_root:
        listed, unlisted = with_folds(clips[~is_macro], parameters.lists_root, parameters.labels)
        clips = pd.concat([listed, clips[is_macro]]).sort_values("clip_id", ignore_index=True)
        reading = reading._replace(problems=pd.concat([reading.problems, unlisted], ignore_index=True))
    problem = "no apex given"
    if preset.frames.apex == "estimated":
        clips, problem = clips.assign(apex=np.nan), "apex = 'estimated', that of the sheet not used"
    clips, estimated = with_apex(clips, preset.frames.estimated_apex, data_dir / "cache", problem)
    if preset.frames.crop == "boxes":
        clips["face"] = clips["clip_id"].map(_boxes(root).get)
    path, digest, left_out, noted = cache_frames(clips, preset.frames, data_dir / "cache")
    clips = clips[~clips["clip_id"].isin([clip_id for _, clip_id, _, _ in left_out])].reset_index(drop=True)
    if clips.empty:
        raise ValueError(f"{root}: none of the {len(left_out)} clips could be read; the first: {left_out[0]}")
    found = problems_table(unknown + estimated + noted + left_out + near_twins(clips, path))
    return Dataset(
        clips=clips,
        frames_path=path,
        classes=class_names(parameters.labels, parameters.layout),
        problems=_relative(pd.concat([reading.problems, found], ignore_index=True), root),
        outside=outside,
        fingerprint=_fingerprint(clips, digest, preset.frames),
        version=reading.version,
        counts=compare_counts(reading),
        crop=preset.frames.crop,
    )


def why_lacking(parameters, preset, data_dir):
    """What the dataset lacks of what parameters ask for (labels, macro clips), in words. Opens no frame."""
    try:
        _with_classes(read_dataset(parameters, preset, data_dir)[1], parameters)
    except LackingError as error:
        return str(error)
    return ""


def _with_classes(reading, parameters):
    """Clips that have a class; macro clips among them if they are asked for."""
    clips = labelled(reading.clips, parameters.labels)
    if parameters.macro_clips != "none" and not (clips["expression_type"] == "macro").any():
        raise LackingError(
            f"macro_clips = {parameters.macro_clips!r}, but no macro-expression has a class of labels = "
            f"{parameters.labels!r}; CAS(ME)^3's sheet gives them objective classes: -p labels objective7"
        )
    return clips


def _open_flow_images(parameters, frames, cache):
    """Pictures of flow as a dataset: the video is all, the first two are special; a single one is both."""
    variant, root = parameters.variant or "htnet", _given_root(parameters)
    found = flow_images.read_both(root) if variant == flow_images.BOTH else flow_images.read(root, variant)
    if found.clips.empty:
        raise ValueError(
            f"{root}: none of its {len(found.problems)} images can be used; "
            f"the first: {found.problems.iloc[0].to_dict()}"
        )
    numbered = flow_images.numbered(found.clips)
    clips = labelled(numbered, parameters.labels)
    places = np.minimum([*range(frames.n_frames), 0, 1], found.images.shape[1] - 1)
    shown = np.ascontiguousarray(found.images[:, places])
    picture = dict(zip(numbered["clip_id"], shown, strict=True))
    path, digest, *_ = cached_rows(
        cache / f"flow-images-{hashlib.sha256(shown).hexdigest()[:16]}",
        [(clip_id, clip_id) for clip_id in clips["clip_id"]],
        picture.__getitem__,
        shape=shown.shape[1:], dtype=np.uint8, desc="",
    )  # fmt: skip
    twins = problems_table(near_twins(clips, path, **OF_FLOW))
    return Dataset(
        clips=clips,
        frames_path=path,
        classes=class_names(parameters.labels, parameters.layout),
        problems=pd.concat([found.problems, twins], ignore_index=True),
        outside={},
        fingerprint=_fingerprint(clips, digest, Frames()),
        version=f"published images of flow and strain, {flow_images.VARIANTS.get(variant, variant)}",
        counts=pd.DataFrame(columns=["expected", "difference"]),  # none is known to be expected
        shows_flow=found.images.shape[1],
    )


def _boxes(root):
    if not (root / _BOXES).is_file():
        raise FileNotFoundError(
            f"{root / _BOXES} is not there; give it the columns clip_id,x,y,w,h or choose another crop"
        )
    return given_boxes(root / _BOXES)


def _relative(problems, root):
    """Paths in the table start at the dataset's root, so that reports show no folder of this machine."""
    for folder in (root.absolute(), *root.absolute().parents[:2], root):
        problems = problems.map(lambda cell, folder=folder: str(cell).replace(f"{folder}/", ""))
    return problems


def _fingerprint(clips, frames_digest, frames):
    columns = ["clip_id", "subject_id", "recording_id", "label"]
    columns += ["authors_fold"] * ("authors_fold" in clips)
    columns += ["onset", "offset"] * (frames.drawing != "uniform")  # how many frames there are to draw from
    columns += ["expression_type"] * bool((clips["expression_type"] == "macro").any())
    rows = clips[columns].to_csv(index=False)
    return text_digest(frames_digest + rows)
