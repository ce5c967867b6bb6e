"""Every baseline can fit clips of the synthetic benchmark: none is broken, whatever its score."""

import numpy as np
import pytest
import torch

from hsta_lib.config import Parameters, Preset, Settings, Synthetic, with_fields
from hsta_lib.data.dataset import open_dataset
from hsta_lib.data.splits import make_folds
from hsta_lib.models.baselines.registry import SYSTEMS
from hsta_lib.training import baseline_inputs, fit
from hsta_lib.training.trials import Trial

LABELS = "emotion3"
SPEC = Synthetic(n_subjects=11, n_micro=92, frame_size=128, depth=True)  # 75 clips have one of three classes
N_TRAIN = 60
# Rate and epochs are free here: the recipes of the reduced forms take too few steps with 60 clips.
RECIPE = {
    "optimizer": "adam", "learning_rate": 1e-3, "epochs": 100, "schedule": "constant", "sampling": "uniform",
    "weight_decay": 0, "batch_size": 20,
}  # fmt: skip


def settings_of(name):
    chosen = {"baseline": name, "form": "reduced", "loss": "own", "split": "paper"}
    system = SYSTEMS[name]["reduced"]
    recipe = system.recipe | RECIPE
    return with_fields(Settings(labels=LABELS), **chosen | system.frames | recipe)


def fitted_scores(name, trial, dataset, inputs, labels):
    """Class scores of the training clips. Of a support vector machine the cost of a mistake is free too."""
    system = SYSTEMS[name]["reduced"]
    if name in ("LBP-TOP", "Bi-WOOF"):
        machine = system.build(len(dataset.classes), **system.sizes | {"c": 1000})
        machine.fit(inputs, labels)
        return machine.scores(inputs)
    model, _ = fit.train_model(trial, dataset)
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(inputs)).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, forms in SYSTEMS.items() if not forms["reduced"].pictures])
def test_it_fits_sixty_clips(name, tmp_path_factory):
    settings = settings_of(name)
    data_dir = tmp_path_factory.getbasetemp() / "benchmark"  # one for all systems
    preset = Preset(synthetic=SPEC, frames=settings.frames)
    dataset = baseline_inputs.given(open_dataset(Parameters(labels=LABELS), preset, data_dir), settings)
    train = make_folds(dataset.clips, **settings.split.model_dump())[0].train
    assert len(train) == N_TRAIN
    inputs = np.array(baseline_inputs.inputs(dataset, settings)[train])
    labels = dataset.clips["label"].to_numpy()[train]
    trial = Trial(settings, 0, 0, dataset.fingerprint)
    found = fitted_scores(name, trial, dataset, inputs, labels)
    assert (found.argmax(axis=1) == labels).mean() >= 0.95
