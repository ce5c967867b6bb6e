"""What a step is given: frames of some clips as the network sees them, or a baseline's inputs."""

from functools import lru_cache

import numpy as np
import torch
from einops import rearrange

from hsta_lib.data.frames import choose_frames
from hsta_lib.training import baseline_inputs

# ImageNet's channel means and deviations, as in the released code.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

EVALUATION_BATCH = 128  # clips
_MOST_KEPT = 2**29  # bytes


class Clips:
    """The dataset's frames on the device as uint8; what a network is given of them is made there.

    ``cut`` (callable): `hsta_lib.models.hsta.HSTA.cut` of the trial's network.
    """

    def __init__(self, dataset, trial, cut):
        settings = trial.settings.frames
        self.device, self.precision = device_of(trial.device), trial.settings.training.precision
        self.frames = torch.from_numpy(dataset.frames()).to(self.device)
        self.settings, self.pixels, self.cut = settings, trial.settings.training.pixels, cut
        lengths = dataset.clips["offset"] - dataset.clips["onset"] + 1
        self.lengths = np.minimum(lengths, settings.n_stored).to_numpy()
        self.seed = [trial.seed, trial.fold]
        self.places = self._fixed_places(trial.settings.training.video)
        # What is the same in every epoch is made once, where there is room for it.
        values = settings.image_size**2 * 3 * (settings.n_frames + 2)
        is_drawn, fits = self.settings.drawing == "random", 4 * len(self.lengths) * values <= _MOST_KEPT
        self.kept = None if is_drawn or not fits else self._all()

    def frame_draws(self, purpose, draw=0):
        """Random numbers for drawing frames, apart from those of another purpose; None: evenly spaced."""
        drawn_in = {"uniform": (), "random": ("training", "test"), "random_test": ("test",)}
        if purpose not in drawn_in[self.settings.drawing]:
            return None
        return np.random.default_rng([*self.seed, {"training": 1, "test": 2 + draw}[purpose]])

    def batch(self, rows, draws):
        """What the network is given of some clips."""
        return self.at(self.index(rows, draws))

    def index(self, rows, draws):
        """Where on the device some clips are: tensors whose first axis is clips; two if frames are drawn."""
        clips = torch.from_numpy(rows).to(self.device)
        return (clips,) if draws is None else (clips, self._drawn_places(rows, draws))

    def at(self, index):
        """What the network is given of the clips at some places."""
        if self.kept and len(index) == 1:
            return tuple(branch.index_select(0, *index) for branch in self.kept)
        return self.cut(*self.prepared(self.frames_at(*index)))

    def frames_at(self, clips, places=None):
        """Frames of some clips, uint8, ``(b, n_frames + 2, h, w, 3)``; the last two are the special ones."""
        if places is None and self.places is not None:
            places = self.places[clips]
        return self.frames[clips] if places is None else self.frames[clips[:, None], places]

    def prepared(self, frames):
        """Pixels of such frames: ``video (b, 3, n_frames, h, w)`` and ``special (b, 3, 2, h, w)``."""
        clips = rearrange(self._normalised(frames), "b t h w c -> b c t h w")
        return clips[:, :, :-2], clips[:, :, -2:]

    def _all(self):
        """What the network is given of every clip, made block by block."""
        rows = torch.arange(len(self.lengths), device=self.device)
        blocks = [self.cut(*self.prepared(self.frames_at(some))) for some in rows.split(EVALUATION_BATCH)]
        return tuple(torch.cat(branch) for branch in zip(*blocks, strict=True))

    def _fixed_places(self, video):
        """Which stored frames are seen of each clip if none are drawn, on the device; None: all, in order."""
        n_frames, onset, apex = self.settings.n_frames, self.settings.n_stored, self.settings.n_stored + 1
        if video == "shuffled":
            stored = np.tile(np.arange(onset), (len(self.lengths), 1))
            return self._with_special(np.random.default_rng([*self.seed, 0]).permuted(stored, axis=1))
        if video in ("apex", "onset_apex"):
            first = {"apex": apex, "onset_apex": onset}[video]
            places = np.repeat([first, apex], [n_frames // 2, n_frames - n_frames // 2])
            return self._with_special(np.tile(places, (len(self.lengths), 1)))
        if self.settings.drawing == "random_test":
            return self._drawn_places(np.arange(len(self.lengths)), None)
        return None

    def _drawn_places(self, rows, draws):
        n_frames = self.settings.n_frames
        return self._with_special(np.stack([draw_frames(n, n_frames, draws) for n in self.lengths[rows]]))

    def _with_special(self, places):
        special = np.tile([self.settings.n_stored, self.settings.n_stored + 1], (len(places), 1))
        return torch.from_numpy(np.hstack([places, special])).to(self.device)

    def _normalised(self, pixels):
        if self.settings.special == "frames":
            return normalise(pixels, self.pixels)
        # Pictures of tracks or flow are no frames of the clip, and have no part in its mean frame.
        video, pictures = normalise(pixels[:, :-2], self.pixels), normalise(pixels[:, -2:], "imagenet")
        return torch.cat([video, pictures], dim=1)


class Inputs:
    """What a baseline is given of each clip, on the device."""

    def __init__(self, dataset, trial):
        self.device, self.precision = device_of(trial.device), trial.settings.training.precision
        self.inputs = torch.from_numpy(baseline_inputs.inputs(dataset, trial.settings)).to(self.device)

    def frame_draws(self, _purpose, _draw=0):
        """None: no frames are drawn."""

    def batch(self, rows, draws):
        """The one input of the network, of some clips."""
        return self.at(self.index(rows, draws))

    def index(self, rows, _draws):
        """Where on the device the inputs of some clips are, see `at`."""
        return (torch.from_numpy(rows).to(self.device),)

    def at(self, index):
        """Inputs at some places."""
        return (self.inputs[index],)


def seen_batches(trial, dataset, rows, cut):
    """Clips of some ``rows``, batch by batch, as a trial's network sees them when it is tested on them.

    Frames that are drawn at random are those of `fit` if ``rows`` are the trial's test fold. ``cut``: see
    `Clips`.

    Yields
    ------
    frames : Tensor, uint8, shape (b, n_frames + 2, h, w, 3)
        Those of the video branch and, last, the two of the special branch.
    video, special : Tensor, float32, shape (b, n_tokens, values of a tubelet)
    """
    check_frames(dataset.frames().shape, trial.settings.frames)
    data = Clips(dataset, trial, cut)
    draws = data.frame_draws("test")
    for start in range(0, len(rows), EVALUATION_BATCH):
        index = data.index(rows[start : start + EVALUATION_BATCH], draws)
        yield data.frames_at(*index), *data.at(index)


def normalise(pixels, kind):
    """Pixels of a batch as the network sees them: float32 of the same shape.

    Parameters
    ----------
    pixels : Tensor, uint8, shape (b, t, h, w, 3)
        All frames of each clip; or pictures of it, which are no frames (``imagenet`` alone makes sense).
    kind : {"imagenet", "clip"}
        ``imagenet``: ImageNet's mean and deviation per channel. ``clip``: minus the clip's mean frame,
        divided by the deviation of what is left. A still face fills nearly all of a clip's pixel
        variance; this leaves what moves.
    """
    pixels = pixels.float()
    if kind == "clip":
        moving = pixels - pixels.mean(dim=1, keepdim=True)
        deviation = moving.square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()
        return moving / deviation.clamp(min=1e-3)
    mean, std = _channel_constants(pixels.device)
    return (pixels / 255 - mean) / std


@lru_cache
def _channel_constants(device):
    return tuple(torch.tensor(value, device=device) for value in (PIXEL_MEAN, PIXEL_STD))


def draw_frames(length, n_frames, rng):
    """Places, ascending, of frames drawn as by the released loader (``my_utils.py``), or evenly spaced.

    Evenly spaced without ``rng``. A shorter clip has its first frame repeated in front for half of what is
    missing, its last behind.
    """
    if rng is None:
        return choose_frames(0, length - 1, n_frames)
    if length >= n_frames:
        return np.sort(rng.choice(length, n_frames, replace=False))
    missing = n_frames - length
    return np.pad(np.arange(length), (missing // 2, missing - missing // 2), mode="edge")


def check_frames(shape, frames):
    """Refuse frames of another shape than the settings ask for."""
    expected = (frames.n_stored + 2, frames.image_size, frames.image_size, 3)
    if shape[1:] != expected:
        raise ValueError(f"the data has frames of shape {shape[1:]}, the settings need {expected}")


def device_of(name):
    """The device a parameter names: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.

    A ValueError if this machine does not have it; the message names those that are there.
    """
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name not in ("auto", "cpu", *["cuda"][: len(gpus)], *gpus):
        raise ValueError(f"device = {name!r} is not on this machine; there are: {', '.join(['cpu', *gpus])}")
    return torch.device(("cuda" if gpus else "cpu") if name == "auto" else name)
