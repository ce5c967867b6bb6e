"""The synthetic benchmark: clips of procedural faces on disk, laid out as CAS(ME)^3 Part A.

It is a positive control: what moves in a clip is known (`true_flow`), the best possible score is known
(`population.expected_ceiling`), and nothing but the movement carries the label. It says nothing about real
faces.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from hsta_lib.config import n_cores
from hsta_lib.data.readers import casme3
from hsta_lib.data.synthetic import portrait, render
from hsta_lib.data.synthetic.population import FILMS, clip_rows, stream
from hsta_lib.data.synthetic.sheets import all_workbook, micro_workbook
from hsta_lib.files import built_beside, file_digest, progress_bar, still_whole, write_whole

VERSION = 1  # raise when the same settings would give other clips or other pixels
AMPLITUDE = {"easy": 0.06, "micro": 0.01}  # peak motion of a micro-expression, in face widths
MACRO_AMPLITUDE = 0.06
MICRO_SHEET = f"annotation/{casme3.MICRO_SHEET}"
MACRO_SHEET = f"annotation/{casme3.ALL_SHEET}"
_FEW_FRAMES = 600  # not worth starting processes for
_PATIENCE_SECONDS = 120  # until the next subject is drawn, which takes seconds


def ensure(spec, data_dir):
    """Folder of a benchmark, built if it is not there, or if a file of it is damaged or missing.

    In the layout of CAS(ME)^3: ``part_A/spNO.1/a/color/355.jpg`` and ``annotation/``; with ``depth`` also
    ``part_A/spNO.1/a/depth/355.png`` of onset and apex, 16 bits, mm. ``data_dir``: folder that holds
    generated data.
    """
    root = Path(data_dir) / f"synthetic-{_fingerprint(spec)}"
    if not still_whole(root, partial(_is_whole, spec, root)):
        _build(spec, root)
    return root


def _fingerprint(spec):
    # JSON writes 0, 0.0 and False differently, though they are one strength, and so one benchmark.
    tie = bool(spec.tied_labels) if spec.tied_labels in (0, 1) else spec.tied_labels
    described = {**spec.model_dump(exclude={"depth"}), "tied_labels": tie, "version": VERSION}
    described |= {"depth": True} if spec.depth else {}  # benchmarks without keep the name they had before
    text = json.dumps(described, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _is_whole(spec, root):
    """Whether all videos and sheets are there, as its manifest has them."""
    try:
        manifest = json.loads((root / "manifest.json").read_text())
        videos, sheets = dict(manifest["videos"]), dict(manifest["sheets"])
        is_known = manifest["fingerprint"] == _fingerprint(spec)
        films = set(clip_rows(spec)[["subject", "film"]].agg("/".join, axis="columns"))
        return (
            is_known and set(videos) == films and set(sheets) == set(_sheets(spec))
            and all(_video_digest(spec, root / "part_A" / name) == digest for name, digest in videos.items())
            and all(file_digest(root / name) == digest for name, digest in sheets.items())
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(spec, root):
    if root.exists():
        print(f"{root.name} is damaged or not whole: it is drawn again")
    with built_beside(root, partial(_is_whole, spec, root)) as unfinished:
        described = {
            "fingerprint": _fingerprint(spec),
            "videos": draw(partial(_write_videos, spec, unfinished), clip_rows(spec), "drawing clips"),
            "sheets": _write_sheets(spec, unfinished),
        }
        write_whole(unfinished / "manifest.json", json.dumps(described, indent=0, sort_keys=True))


def _video_digest(spec, video):
    digest = hashlib.sha256()
    for channel in ["color", "depth"] if spec.depth else ["color"]:
        folder = video / channel
        for name in sorted(name for name in os.listdir(folder) if name[0].isdigit()):  # no file manager's
            with open(folder / name, "rb") as file:
                digest.update(name.encode() + b"\0" + file.read())
    return digest.hexdigest()


def draw(work, clips, desc):
    """Draw clips on all cores, return digests by name; a subject's are one job, as they share its face.

    Parameters
    ----------
    work : callable
        Of a subject; draws its clips and returns digests by name. It can be pickled, for other processes.
    clips : DataFrame
        With ``subject``, ``onset`` and ``offset``.
    desc : str
        Beside the progress bar.
    """
    n_frames = (clips["offset"] - clips["onset"] + 1).groupby(clips["subject"]).sum()
    jobs = n_frames.sort_values(ascending=False, kind="stable").index.tolist()
    digests = {}
    with progress_bar(total=n_frames.sum(), desc=desc, unit="frame", mininterval=2) as bar:
        for subject, done in _in_processes(work, jobs, n_cores() if n_frames.sum() >= _FEW_FRAMES else 1):
            digests.update(done)
            bar.update(n_frames[subject])
    return digests


def _in_processes(work, jobs, n_workers):
    """Jobs and results, in no order; done in this process where it may not start others, as some workers."""
    left, n_workers = list(jobs), min(n_workers, len(jobs))
    if n_workers > 1 and not multiprocessing.current_process().daemon:
        others = set(multiprocessing.active_children())
        try:
            with ProcessPoolExecutor(n_workers, multiprocessing.get_context("spawn"), _begin) as pool:
                pending = {pool.submit(work, job): job for job in jobs}
                try:
                    while pending:
                        done = wait(pending, _PATIENCE_SECONDS, FIRST_COMPLETED).done
                        if not done:
                            raise BrokenProcessPool("one of them is stopped")
                        for future in done:
                            yield pending[future], future.result()
                            left.remove(pending.pop(future))
                finally:
                    for process in set(multiprocessing.active_children()) - others:
                        process.kill()  # one that is stopped would not end by itself
        except BrokenProcessPool:
            print("worker processes could not be used; drawing the rest in this one")
    for job in left:
        yield job, work(job)


def _begin():
    """A process that draws has one core, and ends with the one that has started it."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _write_videos(spec, root, subject):
    clips, digests = clip_rows(spec), {}
    for film, rows in clips[clips["subject"] == subject].groupby("film", sort=False):
        folder = root / "part_A" / subject / film / "color"
        folder.mkdir(parents=True, exist_ok=True)
        for row in rows.to_dict("records"):
            clip = _Clip(spec, row)
            for number, frame in zip(clip.numbers, clip.frames(), strict=True):
                (folder / f"{number}.jpg").write_bytes(render.jpeg(frame))
            if spec.depth:
                _write_depth(clip, folder.with_name("depth"))
        digests[f"{subject}/{film}"] = _video_digest(spec, folder.parent)
    return digests


def _write_depth(clip, folder):
    folder.mkdir(exist_ok=True)
    for number, depth in clip.depth_maps().items():
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", depth)[1].tobytes())


def _sheets(spec):
    return [MICRO_SHEET, MACRO_SHEET] if spec.n_macro else [MICRO_SHEET]


def _write_sheets(spec, root):
    clips = clip_rows(spec)
    books = {MICRO_SHEET: micro_workbook(clips, stream(spec, "spelling"))}
    books |= {MACRO_SHEET: all_workbook(clips)} if spec.n_macro else {}
    for name, content in books.items():
        write_whole(root / name, content)
    return {name: file_digest(root / name) for name in books}


class _Clip:
    """Everything drawn for one clip's pixels, each from a stream of its own."""

    def __init__(self, spec, row):
        self.spec, self.row, self.size, self.id = spec, row, spec.frame_size, row["clip_id"]
        self.numbers = np.arange(row["onset"], row["offset"] + 1)
        self.subject = int(row["subject"].removeprefix("spNO."))
        self.keys = {
            "clip": (int(row["expression_type"] == "macro"), int(row["key"])),
            "recording": (self.subject, FILMS.index(row["film"])),
            "film": (FILMS.index(row["film"]),),
        }
        self.face = _face(spec, self.subject)

    def stream(self, purpose, of="clip"):
        return stream(self.spec, f"{purpose} of {of}", *self.keys[of])

    def intensity(self):
        """0 at onset and offset, 1 at the apex, raised cosines between."""
        moments = [self.row["onset"], self.row["apex"], self.row["offset"]]
        return 0.5 - 0.5 * np.cos(np.pi * np.interp(self.numbers, moments, [0, 1, 2]))

    def field(self):
        rng = self.stream("strength")
        strength = rng.uniform(0.8, 1.2)
        pulls = [
            (int(unit.lstrip("LR")), unit[0] if unit[0] in "LR" else "", strength * rng.uniform(0.85, 1))
            for unit in self.row["action_units"].split("+")
        ]
        amplitude = (
            AMPLITUDE[self.spec.difficulty] if self.row["expression_type"] == "micro" else MACRO_AMPLITUDE
        )
        return render.expression_field(self.face, pulls, amplitude, self.size)

    def poses(self):
        """Shift (fractions of the frame), turn (degrees) and log scale of the head in every frame."""
        spread = np.array([0.007, 0.007, 0.6, 0.004])
        start = sum(self.stream("pose", of).normal(0, spread) for of in self.keys)
        drift = render.smooth_path(self.stream("drift"), len(self.numbers), 4)
        return start + drift * spread * [0.7, 0.7, 0.7, 0.5]

    def lights(self):
        """Gain of red, green and blue and slope of the light across the frame, in every frame."""
        film, session = self.stream("light", "film"), self.stream("light", "recording")
        colour = 1 + film.normal(0, 0.03) + film.normal(0, 0.015, 3) + session.normal(0, 0.02)
        slope = film.normal(0, 0.08, 2) + session.normal(0, 0.04, 2)
        drift = 0.025 * render.smooth_path(self.stream("light"), len(self.numbers), 3)
        return np.concatenate([colour * (1 + drift[:, :1]), slope + drift[:, 1:]], axis=1)

    def frames(self, zero_field=False):
        field = None if zero_field else self.field()
        scene = portrait.draw_scene(
            self.face, self.stream("scene", "recording"), self.stream("scene", "film"), self.size
        )
        drawing, noise = _drawing(self.spec, self.subject), self.stream("noise")
        for amount, pose, light in zip(self.intensity(), self.poses(), self.lights(), strict=True):
            now = None if field is None else np.float32(amount) * field
            yield render.render_frame(drawing, scene, now, pose, light, noise)

    def depth_maps(self):
        """Number of onset and apex to their depth maps."""
        onset, apex = self.row["onset"], self.row["apex"]
        poses, sensor = self.poses(), self.stream("depth sensor")
        return {
            number: render.render_depth(self.face, field, poses[number - onset], self.size, sensor)
            for number, field in ((onset, None), (apex, self.field()))
        }


def _face(spec, subject):
    return portrait.draw_identity(stream(spec, "identity", subject))


@lru_cache(maxsize=8)
def _drawing(spec, subject):
    return portrait.draw_face(_face(spec, subject), spec.frame_size)


def _find(spec, clip_id):
    clips = clip_rows(spec)
    rows = clips[clips["clip_id"] == clip_id]
    if rows.empty:
        raise ValueError(
            f"clip_id = {clip_id!r} is not in this benchmark; its first is {clips['clip_id'][0]!r}"
        )
    return _Clip(spec, rows.iloc[0].to_dict())


def clip_frames(spec, clip_id, zero_field=False):
    """Frames of a clip from onset to offset, before compression: RGB uint8 ``(n_frames, size, size, 3)``.

    ``clip_id`` is such as ``synthetic/spNO.1/a/355``. With ``zero_field`` the clip has all (drift of head and
    light, noise) but its expression.
    """
    return np.stack(list(_find(spec, clip_id).frames(zero_field)))


def true_flow(spec, clip_id, size=None, with_drift=False):
    """Movement of each point of the onset frame up to the apex frame: px right and down, ``(size, size, 2)``.

    Parameters
    ----------
    size : int, optional
        Side of the field; the frame size if not given. Displacements are scaled with it.
    with_drift : bool
        Include the movement of the head, which the frames show too; else the expression alone.
    """
    clip = _find(spec, clip_id)
    poses = clip.poses()
    onset, apex = poses[0], poses[clip.row["apex"] - clip.row["onset"]]
    flow = render.apex_flow(clip.field(), onset, apex if with_drift else onset)
    if with_drift:  # the scene behind the head stands still
        flow *= render.head_opacity(_drawing(spec, clip.subject), onset)[..., None] > 0.5
    if size is None or size == clip.size:
        return flow
    method = cv2.INTER_AREA if size < clip.size else cv2.INTER_LINEAR
    return cv2.resize(flow, (size, size), interpolation=method) * np.float32(size / clip.size)
