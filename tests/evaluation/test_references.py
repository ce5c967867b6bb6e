"""Reference rows made of the difference of apex and onset."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hsta_lib.data.splits import Fold
from hsta_lib.evaluation import references


def test_the_difference_is_apex_less_onset_as_large_as_asked():
    frames = np.zeros((2, 4, 4, 4, 3), np.uint8)
    frames[0, -1], frames[0, -2] = 51, 102
    frames[1, -1, :2, :2] = 255
    dataset = SimpleNamespace(frames=lambda: frames)
    assert references.difference(dataset, 4).shape == (2, 48)
    small = references.difference(dataset, 2).reshape(2, 2, 2, 3)
    assert small[0] == pytest.approx(-0.2)
    assert small[1, :, :, 0].tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("model", [references.linear, references.forest])
def test_a_simple_model_learns_from_training_clips_alone(model):
    labels = np.tile([0, 1], 20)
    clips = pd.DataFrame({"clip_id": [f"c{i:02d}" for i in range(40)], "subject_id": "s", "label": labels})
    features = np.random.default_rng(0).normal(labels[:, None], 0.1, (40, 5))
    fold = Fold(np.arange(30), np.arange(30, 40))
    rows = model(clips, [fold], features)
    assert rows["y_pred"].tolist() == labels[30:].tolist()
    wrong = clips.assign(label=np.where(np.arange(40) < 30, labels, 1 - labels))
    assert model(wrong, [fold], features)["y_pred"].tolist() == labels[30:].tolist()
