"""Open a dataset: sheet and folders, clip table, frames, fingerprint, in one call."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hsta_lib.data import casme3, synthetic
from hsta_lib.data.frames import cache_frames
from hsta_lib.data.table import class_names, labelled, problems_table, without_class


@dataclass(frozen=True)
class Dataset:
    """Clips, their frames, and what was wrong with others. Small to pickle: the pixels stay on disk.

    ``outside`` counts the clips, by class, that the label set has no place for.
    """

    clips: pd.DataFrame
    frames_path: Path
    classes: tuple[str, ...]
    problems: pd.DataFrame
    outside: dict[str, int]
    fingerprint: str
    root: Path

    def frames(self):
        """Memory map, uint8, shape ``(n_clips, n_frames + 2, size, size, 3)``; last two: onset, apex.

        Copy-on-write: what is written to it never reaches the file.
        """
        return np.load(self.frames_path, mmap_mode="c")


def open_dataset(parameters, preset, data_dir):
    """Open the dataset a notebook asks for.

    Parameters
    ----------
    parameters : hsta_lib.config.Parameters
        ``dataset``, ``data_root`` and ``labels`` are used.
    preset : hsta_lib.config.Preset
        ``synthetic`` (what to generate) and ``frames`` (which frames, what size) are used.
    data_dir : Path
        Where generated data and frame caches are kept.

    Returns
    -------
    Dataset
        Its fingerprint is a hash of the cached pixels, of the clips' ids, subjects, recordings and labels:
        of content, never of paths or times.

    Raises
    ------
    ValueError
        If a real dataset comes without ``data_root``, or no clip can be used.
    FileNotFoundError
        If the root does not hold what the reader needs.
    """
    if parameters.dataset == "synthetic":
        root = synthetic.ensure(preset.synthetic, data_dir)
    elif parameters.data_root:
        root = Path(parameters.data_root).expanduser()
    else:
        raise ValueError(
            f"dataset = {parameters.dataset!r} needs the folder that holds it: -p data_root /path/to/it"
        )
    listed, problems = casme3.read(root, dataset=parameters.dataset)
    if listed.empty:
        first = f"the first: {problems.iloc[0].to_dict()}" if len(problems) else "the sheet lists none"
        raise ValueError(f"{root}: no clip of the annotation sheet can be used; {first}")
    outside, unknown = without_class(listed, parameters.labels)
    clips = labelled(listed, parameters.labels)
    path, digest, left_out = cache_frames(clips, preset.frames, data_dir / "cache")
    clips = clips[~clips["clip_id"].isin([clip_id for _, clip_id, _, _ in left_out])].reset_index(drop=True)
    if clips.empty:
        raise ValueError(f"{root}: none of the {len(left_out)} clips could be read; the first: {left_out[0]}")
    problems = pd.concat([problems, problems_table(unknown + left_out)], ignore_index=True)
    classes = class_names(parameters.labels)
    fingerprint = _fingerprint(clips, digest)
    return Dataset(clips, path, classes, _relative(problems, root), outside, fingerprint, root)


def _relative(problems, root):
    """Paths in the table start at the dataset's root, so that reports show no folder of this machine."""
    return problems.map(lambda cell: str(cell).replace(f"{root}/", ""))


def _fingerprint(clips, frames_digest):
    rows = clips[["clip_id", "subject_id", "recording_id", "label"]].to_csv(index=False)
    return hashlib.sha256((frames_digest + rows).encode()).hexdigest()[:16]
