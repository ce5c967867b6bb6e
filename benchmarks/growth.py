"""How a training step's time grows with frames, tokens, depth and clips: ``python benchmarks/growth.py``.

One setting at a time is varied around the preset ``quick`` and around full size (a batch of two clips), the
other settings stay. Values are gone through several times, one after the other, so that a machine whose speed
drifts moves all of them. ``--record`` writes the medians to ``growth.csv``, from which the report of Figure 3
is drawn. One CPU thread, as a trial has.
"""

import statistics
from pathlib import Path

import measure
import pandas as pd
import torch
from step import DEVICE, seconds

from hsta_lib.config import Settings, with_fields
from hsta_lib.models.hsta import HSTA
from hsta_lib.study.study import start
from hsta_lib.training.fit import train_step
from hsta_lib.training.recipe import optimizer_of

GROWTH = Path(__file__).with_name("growth.csv")
ROUNDS, CLASSES = 5, 7
# Values of each field; of n_clips, which is none, the clips of a batch. The image size is told as tokens.
QUICK = {
    "n_frames": [2, 4, 6, 8, 12, 16], "image_size": [16, 24, 32, 48, 64], "m": [1, 2, 3, 4, 6, 8],
    "n_clips": [8, 16, 32, 64, 128],
}  # fmt: skip
FULL = {"n_frames": [2, 6, 16], "image_size": [112, 160, 224, 272], "m": [1, 2, 4, 8], "n_clips": [1, 2, 4]}


def step_of(settings, n_clips):
    """Function that takes a training step on noise."""
    torch.manual_seed(0)
    size = settings.frames.image_size
    clips = [torch.randn(n_clips, 3, n, size, size, device=DEVICE) for n in (settings.frames.n_frames, 2)]
    labels = (torch.arange(n_clips) % CLASSES).to(DEVICE)
    model = HSTA.from_settings(settings, CLASSES).to(DEVICE)
    inputs, optimizer = model.cut(*clips), optimizer_of(model, settings.training)
    return lambda: train_step(model, optimizer, inputs, labels, settings.training)


def video_tokens(settings):
    frames, model = settings.frames, settings.model
    return (frames.n_frames // model.tubelet_size) * (frames.image_size // model.patch_size) ** 2


def grow(size, settings, grid, n_clips):
    """Seconds of a step for every value of every setting."""
    rows = []
    for name, values in grid.items():
        chosen = [with_fields(settings, **({} if name == "n_clips" else {name: value})) for value in values]
        clips = values if name == "n_clips" else [n_clips] * len(values)
        steps = [step_of(one, n) for one, n in zip(chosen, clips, strict=True)]
        for step in steps:
            step()
        times = [[seconds(step) for step in steps] for _ in range(ROUNDS)]
        for one, value, of_value in zip(chosen, values, zip(*times, strict=True), strict=True):
            taken = statistics.median(of_value)
            is_tokens = name == "image_size"
            row = {"size": size, "setting": "n_tokens" if is_tokens else name}
            rows.append(row | {"value": video_tokens(one) if is_tokens else value, "seconds": taken})
            print(f"{size}: {name} = {value}: {1000 * taken:.0f} ms", flush=True)
    return rows


def main():
    options = measure.parser(__doc__, GROWTH).parse_args()
    torch.set_num_threads(1)
    quick = start("table4", {"preset": "quick"}).settings
    rows = grow("quick", quick, QUICK, quick.training.batch_size) + grow("full", Settings(), FULL, 2)
    if options.record:
        found = pd.DataFrame(rows).assign(machine=measure.machine())
        found.to_csv(GROWTH, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
