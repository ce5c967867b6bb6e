"""Checkpoints: a training killed at any epoch goes on to the same bits; what is damaged is not used."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from disk import failing
from test_baseline_inputs import dataset_for
from test_baseline_inputs import settings_of as settings_of_baseline
from tiny import FINGERPRINT, tiny_dataset, tiny_settings, tiny_trials, write_script

from hsta_lib.config import as_released, with_fields
from hsta_lib.training import checkpoint, fit, run, store
from hsta_lib.training.checkpoint import Checkpoint
from hsta_lib.training.trials import Trial

RESULT = {"predictions", "losses", "epoch_predictions", "draw_predictions"}
# What there is besides weights: balanced draws; drawn frames, layers left out, dropout, stored epochs; batch
# normalisation; a first stage.
HSTA = {"equations": {}, "dropout": {"dropout": 0.3, "drop_path": 0.2, "feed_forward": 8}}
BASELINES = ("STSTNet", "MMNet", "Micro-BERT")


@pytest.fixture
def every_epoch(monkeypatch):
    """Checkpoints after each epoch, however short it is."""
    for name in ("LONG_SECONDS", "_EVERY_SECONDS", "_LEAST_SHARE"):
        monkeypatch.setattr(checkpoint, name, 0)


class _KilledError(Exception):
    pass


@pytest.fixture
def kill_after(monkeypatch):
    """End a training when so many checkpoints of it were offered; 0: never."""
    left, real = [0], Checkpoint.keep

    def keep(self, parts):
        real(self, parts)
        left[0] -= 1
        if left[0] == 0:
            raise _KilledError

    monkeypatch.setattr(Checkpoint, "keep", keep)
    return lambda n: left.__setitem__(0, n)


def trial_and_dataset(kind, folder):
    if kind in BASELINES:
        settings = with_fields(settings_of_baseline(kind), epochs=4)
        return Trial(settings, 0, 0, FINGERPRINT), dataset_for(kind, folder)
    if kind == "released":
        settings = with_fields(as_released(tiny_settings(d=12, epochs=6)), store_epochs=True, store_draws=2)
        return Trial(settings, 1, 3, FINGERPRINT), tiny_dataset(folder, n_frames=51)
    return tiny_trials(epochs=6, **HSTA[kind])[1], tiny_dataset(folder)


def values(result):
    return {name: result[name] for name in RESULT & result.keys()}


@pytest.mark.parametrize("kind", [*HSTA, "released", *BASELINES])
def test_a_training_killed_at_random_epochs_gives_the_same_bits(kind, tmp_path, every_epoch, kill_after):
    trial, dataset = trial_and_dataset(kind, tmp_path)
    expected = values(fit.fit(trial, dataset))
    epochs = trial.settings.training.epochs + trial.settings.training.pretraining_epochs
    ends, kills = random.Random(kind), 0
    while not (tmp_path / f"{trial.id}.json").exists():
        torch.rand(ends.randrange(9))  # whatever happened in the process before
        kill_after(ends.randrange(1, epochs) if kills < 3 else 0)
        try:
            run.run_trial(trial, dataset, tmp_path)
        except _KilledError:
            kills += 1
            assert (tmp_path / f"{trial.id}.checkpoint").exists()
    assert kills
    assert values(store.load(trial, tmp_path)) == expected
    assert [path.suffix for path in tmp_path.glob(f"*{trial.id}*")] == [".json"]


def test_epochs_that_were_trained_are_not_trained_again(
    dataset, tmp_path, every_epoch, kill_after, monkeypatch
):
    trial = tiny_trials(epochs=6)[0]
    kill_after(4)
    with pytest.raises(_KilledError):
        run.run_trial(trial, dataset, tmp_path)
    epochs = []
    monkeypatch.setattr(Checkpoint, "keep", lambda *_: epochs.append(1))
    run.run_trial(trial, dataset, tmp_path)
    assert len(epochs) == 2


def test_seconds_of_all_parts_add_up(dataset, tmp_path, every_epoch, kill_after):
    trial = tiny_trials(epochs=3)[0]
    kill_after(1)
    first = Checkpoint(trial, tmp_path)
    first.started -= 100
    with pytest.raises(_KilledError):
        fit.fit(trial, dataset, first)
    run.run_trial(trial, dataset, tmp_path)
    assert 100 < store.load(trial, tmp_path)["seconds"] < 130


def test_a_short_training_writes_none_and_a_long_one_at_most_every_minute(dataset, tmp_path, monkeypatch):
    clock, written = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint, "write_whole", lambda *_: written.append(clock[0]))
    kept = Checkpoint(tiny_trials()[0], tmp_path)
    for second in range(0, 400, 20):
        clock[0] = float(second)
        kept.keep([[]])
    assert written == [120, 180, 240, 300, 360]


def test_writing_takes_at_most_a_twentieth_of_the_time(tmp_path, monkeypatch):
    clock, written = [0.0], []

    def slowly(*_):
        written.append(clock[0])
        clock[0] += 30

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint, "write_whole", slowly)
    kept = Checkpoint(tiny_trials()[0], tmp_path)
    while clock[0] < 1500:
        clock[0] += 10
        kept.keep([[]])
    assert written == [120, 750, 1380]


def flip(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


DAMAGES = {
    "cut": (lambda content: content[:-100], "is damaged"),
    "empty": (lambda _: b"", "is damaged"),
    "flipped": (flip, "is damaged"),
    "of other code": (lambda content: b"other" + content[5:], "is of other code"),
    "no checkpoint": (lambda _: b"\xff\x00 text", "is damaged"),
}


@pytest.fixture
def killed(dataset, tmp_path, every_epoch, kill_after):
    """A trial that was killed after its third epoch, and its checkpoint."""
    trial = tiny_trials(epochs=5)[0]
    kill_after(3)
    with pytest.raises(_KilledError):
        run.run_trial(trial, dataset, tmp_path)
    return trial, tmp_path / f"{trial.id}.checkpoint"


@pytest.mark.parametrize("name", DAMAGES)
def test_a_checkpoint_of_no_use_is_named_and_the_training_starts_anew(
    killed, dataset, tmp_path, capsys, name
):
    trial, path = killed
    damage, message = DAMAGES[name]
    content = damage(path.read_bytes())
    path.write_bytes(content)
    run.run_trial(trial, dataset, tmp_path)
    told = capsys.readouterr().out
    assert f"{path.name} {message}" in told
    assert "starts from its beginning" in told
    assert values(store.load(trial, tmp_path)) == values(fit.fit(trial, dataset))
    assert not path.exists()


class _Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_a_pickle_of_another_type_is_not_run(killed, dataset, tmp_path, capsys, monkeypatch):
    trial, path = killed
    monkeypatch.chdir(tmp_path)
    hostile = Checkpoint(trial, tmp_path)
    monkeypatch.setattr(checkpoint, "_state_of", lambda _: _Harmful())
    path.write_bytes(hostile._content([1], time.monotonic()))
    monkeypatch.undo()
    run.run_trial(trial, dataset, tmp_path)
    assert "holds what no checkpoint holds" in capsys.readouterr().out
    assert not Path("harmed").exists()
    assert not (tmp_path / "harmed").exists()


def test_other_code_does_not_go_on_from_it(killed, dataset, tmp_path, capsys, monkeypatch):
    trial, path = killed
    monkeypatch.setattr(checkpoint, "digests", lambda _: {"training.fit": "another"})
    run.run_trial(trial, dataset, tmp_path)
    assert f"{path.name} is of other code" in capsys.readouterr().out


def test_a_full_disk_costs_the_checkpoint_and_a_line(dataset, tmp_path, capsys, monkeypatch, every_epoch):
    monkeypatch.setattr(checkpoint, "write_whole", failing(errno.ENOSPC))
    trial = tiny_trials()[0]
    run.run_trial(trial, dataset, tmp_path)
    assert store.load(trial, tmp_path)
    assert "no checkpoint can be written" in capsys.readouterr().out


BEFORE = """
from hsta_lib.training.checkpoint import Checkpoint

def keep(self, parts, calls=[], real=Checkpoint.keep):
    calls.append(1)
    if len(calls) == 20:
        Path({begun!r}).touch()
    real(self, parts)

Checkpoint.keep = keep
"""


@pytest.mark.parametrize(("workers", "whom"), [(0, "run"), (1, "run"), (1, "worker")])
def test_an_end_that_is_asked_for_leaves_a_checkpoint(dataset, tmp_path, workers, whom, capsys):
    # Of a training of seconds, which keeps none otherwise.
    trial, folder, begun = tiny_trials(epochs=300)[0], tmp_path / "results", tmp_path / "begun"
    before = BEFORE.format(begun=str(begun))
    script = write_script(tmp_path, "tiny_trials(epochs=300)[:1]", f"workers={workers}", before=before)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid if whom == "run" else _training(process.pid), signal.SIGTERM)
        told, _ = process.communicate(timeout=120)
    if whom == "run":
        assert process.returncode == -signal.SIGTERM
        assert [path.name for path in folder.glob("[!.]*")] == [f"{trial.id}.checkpoint"]
        run.run([trial], [dataset], folder, workers=0)
        told = capsys.readouterr().out
    assert f"{trial.id} goes on from its checkpoint" in told
    assert values(store.load(trial, folder)) == values(fit.fit(trial, dataset))
    assert [path.name for path in folder.glob("[!.]*")] == [f"{trial.id}.json"]


def _training(pid):
    """The process itself or, where it has some, its one child that has loaded torch."""
    children = psutil.Process(pid).children(recursive=True)
    (found,) = [
        child.pid for child in children if any("libtorch" in m.path for m in child.memory_maps())
    ] or [pid]
    return found
