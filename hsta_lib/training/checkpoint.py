"""Checkpoints: a long training that is killed goes on from one, and ends with the same bits.

A checkpoint is a line of two digests, then what `torch.save` writes: weights, optimiser, random states and
what was collected, as they are at the end of an epoch.
"""

import hashlib
import io
import json
import os
import signal
import threading
import time
from contextlib import suppress
from importlib.metadata import version

import numpy as np
import torch

from hsta_lib.files import write_whole
from hsta_lib.training.batches import device_of
from hsta_lib.training.code import digests

LONG_SECONDS = 120  # trainings that last longer keep a checkpoint
_EVERY_SECONDS = 60
_LEAST_SHARE = 20  # the training goes on for as many times as long as the writing took

_asked = threading.Event()  # to end this process
_running = set()  # checkpoints of the trainings in this process
_before = []  # what SIGTERM does without them


class Checkpoint:
    """What continues one training; removed when the training's result is stored.

    As a context it also heeds SIGTERM, which then waits for the end of the epoch and its checkpoint. Without
    ``folder``, that of the results, nothing is kept.
    """

    def __init__(self, trial=None, folder=None):
        self.path = None
        if folder is not None:
            self.path, self.made_by = folder / f"{trial.id}.checkpoint", _digest_of_maker(trial)
        self.spent = 0.0  # s of the training before this process had it
        self.started = time.monotonic()
        self.due = self.started + LONG_SECONDS

    def __enter__(self):
        if self.path:
            _running.add(self)
            _heed_the_end()
        return self

    def __exit__(self, kind, *_):
        if self.path and kind is None:
            self.path.unlink(missing_ok=True)
        self._let_go()

    def restore(self, parts):
        """Put a training where it was when its checkpoint was written; without one nothing happens.

        ``parts``: networks, optimisers, numpy's random generators, lists of plain values, or None.
        """
        found = self.path and self._read()
        if not found:
            return
        for part, state in zip(parts, found["parts"], strict=True):
            _set_state(part, state)
        torch.set_rng_state(found["random"])
        if found["random_of_gpus"] is not None:
            torch.cuda.set_rng_state_all(found["random_of_gpus"][: torch.cuda.device_count()])
        self.spent, self.due = found["spent"], self.started + _EVERY_SECONDS
        print(f"{self.path.stem} goes on from its checkpoint, {found['spent']:.0f} s into the training")

    def keep(self, parts):
        """Write the checkpoint if it is time for that, or if the process is to end, which it then does.

        A disk that is full costs the checkpoint and a line, not the training.
        """
        now = time.monotonic()
        if not self.path or (now < self.due and not _asked.is_set()):
            return
        try:
            write_whole(self.path, self._content(parts, now))
        except OSError as error:
            print(f"no checkpoint can be written to {self.path} ({error.strerror}); the training goes on")
        self.due = time.monotonic() + max(_EVERY_SECONDS, _LEAST_SHARE * (time.monotonic() - now))
        if _asked.is_set():
            self._let_go()

    def _content(self, parts, now):
        written = io.BytesIO()
        state = {
            "parts": [_state_of(part) for part in parts],
            "random": torch.get_rng_state(),
            "random_of_gpus": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
            "spent": self.spent + now - self.started,
        }
        torch.save(state, written)
        content = written.getvalue()
        return f"{self.made_by} {hashlib.sha256(content).hexdigest()}\n".encode() + content

    def _read(self):
        """What the file holds; None if there is none, or it is of no use, which is said in a line."""
        try:
            head, _, content = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        made_by, _, digest = head.decode("ascii", "replace").partition(" ")
        reason = "is damaged" * (digest != hashlib.sha256(content).hexdigest())
        if made_by != self.made_by:
            reason = reason or "is of other code, another version of torch or another device"
        if not reason:
            with suppress(Exception):  # torch raises what it likes; nothing but plain values is unpickled
                return torch.load(io.BytesIO(content), weights_only=True)
            reason = "holds what no checkpoint holds"
        print(f"{self.path.name} {reason}: the training starts from its beginning")
        return None

    def _let_go(self):
        _running.discard(self)
        if _asked.is_set() and not _running:
            os.kill(os.getpid(), signal.SIGTERM)


def _digest_of_maker(trial):
    """Of all that must be the same where a training is continued."""
    asked = trial.settings.training
    device = device_of(trial.device)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    made_by = [trial.description(), asked.store_epochs, digests(trial), version("torch"), kind]
    return hashlib.sha256(json.dumps(made_by).encode()).hexdigest()


def _state_of(part):
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    return part.state_dict() if hasattr(part, "state_dict") else part


def _set_state(part, state):
    if isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    elif part is not None:
        part[:] = state


def _heed_the_end():
    """Have SIGTERM wait for the checkpoints of this process; signals reach its main thread alone."""
    if threading.current_thread() is threading.main_thread():
        _take_over()
        return
    with suppress(ImportError, ValueError):  # ValueError: no worker's thread
        from distributed import get_worker

        get_worker().loop.add_callback(_take_over)


def _take_over():
    before = signal.getsignal(signal.SIGTERM)
    if before is not _end:
        _before.append(before or signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _end)


def _end(number, _frame):
    """What SIGTERM does: as it did before, but only when nothing runs that is to be kept."""
    _asked.set()
    if not _running:
        _asked.clear()
        signal.signal(number, _before.pop())
        os.kill(os.getpid(), number)
