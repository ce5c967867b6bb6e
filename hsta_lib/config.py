"""Settings: what can be chosen, what it may be, and where a preset's values come from.

The defaults of these models are the paper's (section 4.1, full size); a preset in ``params/`` lists only
where it departs from them. What the paper leaves open, or the authors' code does otherwise, is listed with
its field in ``paper/departures.csv``. This module alone reads the environment.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import psutil
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hsta_lib import ROOT, SHIPPED

# OpenCV's FFmpeg writes a line for each damaged block of a video; `attention.own_clip` tells what is lost.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

RepairRule = Literal["repaired", "published", "released", "drop"]
RecipeName = Literal["equations", "released"]
SplitName = Literal["subject", "paper", "loso", "authors", "subject_seen", "holdout"]
MacroRule = Literal["none", "training_subjects", "all"]

# Layouts the synthetic benchmark is written in, besides that of CAS(ME)^3, and whose labels it then has.
LAYOUTS = ("casme2", "smic", "samm", "megc2019")


class Group(BaseModel):
    """A group of settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Synthetic(Group):
    """The synthetic benchmark: how many procedural faces, how hard, from which seed."""

    generator_seed: int = Field(2, ge=0)
    n_subjects: int = Field(94, ge=2)
    n_micro: int = Field(860, ge=10)
    n_macro: int = Field(0, ge=0)
    difficulty: Literal["easy", "micro"] = "easy"
    frame_size: int = Field(256, ge=32)  # px on disk, square
    # Strength of the labels' tie to film and recording, a factor on log-odds: 1 is that of CAS(ME)^3's list.
    tied_labels: float = Field(0, ge=0, le=1)
    depth: bool = False  # also depth maps of onset and apex, in the layout of CAS(ME)^3


class Frames(Group):
    """Which frames of a clip are used, and at what size."""

    n_frames: int = Field(6, ge=2)
    # The apex is put in place of the frame nearest to it.
    keep_apex: bool = False
    image_size: int = Field(224, ge=8)  # px, square
    # The whole frame, its aspect lost, as in the released code; a central square; the face or its box.
    crop: Literal["none", "center_square", "face", "boxes"] = "none"
    # Uniform over the clip; or drawn from its first 51 frames, anew at every step of training and test alike,
    # as in the released code; or in the test alone.
    drawing: Literal["uniform", "random", "random_test"] = "uniform"
    # Onset and apex; or two pictures, onset to apex and apex to offset, of sparse tracks, which the released
    # code calls optical flow, or of the dense flow.
    special: Literal["frames", "tracks", "flow"] = "frames"
    # Apex of clips that have none in their sheet (SMIC): the middle frame, or the one that differs most from
    # the onset.
    estimated_apex: Literal["middle", "difference"] = "middle"
    # Of the sheet, where it gives one; or estimated for every clip.
    apex: Literal["annotated", "estimated"] = "annotated"

    @model_validator(mode="after")
    def _no_field_without_effect(self):
        if self.keep_apex and self.drawing != "uniform":
            raise ValueError(f"keep_apex has no effect with drawing = {self.drawing!r}; leave it False")
        return self

    @property
    def n_stored(self):
        """Video frames kept of each clip: those it is seen with, or those that are drawn from."""
        return self.n_frames if self.drawing == "uniform" else 51


class Model(Group):
    """The network of Eqs. 1-16: M modules of L_v USTA layers on the video and L_s on the special branch."""

    m: int = Field(4, ge=1)
    l_v: int = Field(2, ge=0)
    l_s: int = Field(1, ge=0)
    csta: bool = True
    d: int = Field(768, ge=2)
    patch_size: int = Field(16, ge=1)  # px
    tubelet_size: int = Field(2, ge=1)  # frames
    # None, as in Eqs. 1-16; or a fixed sine-cosine table over CLS and tokens.
    positions: Literal["none", "sincos"] = "sincos"
    # MLP1 and MLP2: LayerNorm, GELU, Linear; or one Linear.
    mlp: Literal["ln_gelu_linear", "linear"] = "ln_gelu_linear"
    # P_theta: one Linear from both CLS tokens to the classes; or LayerNorm over both or each first.
    head: Literal["linear", "ln_linear", "branch_ln_linear", "sum_linear"] = "linear"
    # Of Linear layers: normal(0, 0.02); or Xavier. Conv3d has PyTorch's own.
    init: Literal["normal", "xavier"] = "normal"
    # Where the authors' code departs from Eqs. 1-16, see `hsta_lib.models.hsta`; 0: as the video branch.
    d_special: int = Field(0, ge=0)
    patch_size_special: int = Field(0, ge=0)
    border: Literal["refuse", "crop"] = "refuse"
    heads: int = Field(1, ge=1)
    pre_norm: bool = False
    feed_forward: int = Field(0, ge=0)
    attention_bias: bool = False
    projection: bool = False
    dropout: float = Field(0, ge=0, lt=1)
    drop_path: float = Field(0, ge=0, lt=1)
    eps: float = Field(1e-5, gt=0)


class Training(Group):
    """The recipe of section 4.1."""

    # Normalised as ImageNet's, as in the released code; or by each clip's own mean frame and deviation.
    pixels: Literal["imagenet", "clip"] = "imagenet"
    # Squared error (Eq. 16) of logits or of their softmax; or cross-entropy, as in the released code.
    loss: Literal["mse", "mse_softmax", "cross_entropy"] = "mse"
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(5e-5, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    batch_size: int = Field(32, ge=1)
    epochs: int = Field(150, ge=1)
    warmup_epochs: int = Field(5, ge=0)
    warmup_start: float = Field(1e-6, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"  # after the warm-up
    sampling: Literal["balanced", "uniform"] = "balanced"
    # Where the authors' code departs from the paper, or says what it does not.
    final_rate: float = Field(0, ge=0)  # that the cosine ends at
    peak_twice: bool = False  # the warm-up ends at the full rate, and the decay begins with it
    layer_decay: float = Field(1, gt=0, le=1)  # factor on the rate, once more for every module further down
    decay_biases: bool = True  # weight decay on biases and LayerNorms too
    # Of the network's products; auto: see `training.precision`. Weights, loss and optimiser are float32.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class TrialTraining(Training):
    """The recipe, and what only single trials choose, never a preset."""

    # More choices for the recipes of baselines, see `baselines.registry`: a loss of their own;
    # steps: the rate times ``decay`` after every ``decay_epochs``; in_order: each clip once, never shuffled.
    loss: Literal["mse", "mse_softmax", "cross_entropy", "own"] = "mse"
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    schedule: Literal["cosine", "constant", "steps"] = "cosine"
    sampling: Literal["balanced", "uniform", "in_order"] = "balanced"
    precision: Literal["float32", "bfloat16"] = "float32"  # what auto stood for
    decay: float = Field(1, gt=0, le=1)
    decay_epochs: int = Field(1, ge=1)
    drop_last: bool = True  # the last partial batch
    pretraining_epochs: int = Field(0, ge=0)  # of a system's first stage, before the epochs
    # Not "none" only in reference rows, see `hsta_lib.training.recipe.training_labels`.
    shuffled_labels: Literal["none", "fold", "recording"] = "none"
    # What the video branch sees: the frames; each clip's in an order of its own; the apex; onset and apex.
    video: Literal["frames", "shuffled", "apex", "onset_apex"] = "frames"
    # Also store the test predictions of every epoch.
    store_epochs: bool = False
    # Also store the test predictions of so many draws of the test clips' frames.
    store_draws: int = Field(0, ge=0)


class Folds(Group):
    """How many folds, or how much is held out, and how they are drawn."""

    n_folds: int = Field(5, ge=2)
    stratify: bool = False
    split_seed: int = Field(0, ge=0)
    # Of holdout: shares of the subjects that are tested, and of the others that a seed trains on.
    held_out: float = Field(0.35, gt=0, lt=1)
    drawn: float = Field(0.43, gt=0, le=1)


class Split(Folds):
    """How clips are divided into training and test folds, see `hsta_lib.data.splits.make_folds`."""

    split: SplitName = "subject"
    macro_clips: MacroRule = "none"  # in training
    training_subjects: float = Field(1, gt=0, le=1)  # share of a fold's training subjects that is used
    # Of data from several datasets: all of them; or each alone, with folds of its own. Of two extractions of
    # the flow of the same clips: one; both are tested.
    train_on: Literal["composite", "own", "htnet", "causalnet"] = "composite"


class Comparison(Group):
    """Which network: HSTA, or a baseline, to which nothing of `Model` applies."""

    baseline: str = ""  # its name, see `hsta_lib.models.baselines.registry`; empty: HSTA
    form: str = Field("published", pattern=r"^(published|reduced)(, gamma 0\.[34])?$")  # CausalNet's has more


class Settings(Group):
    """Everything one training can depend on, besides the data, the fold and the seed."""

    labels: str = "emotion7"
    frames: Frames = Frames()
    model: Model = Model()
    training: TrialTraining = TrialTraining()
    split: Split = Split()
    comparison: Comparison = Comparison()

    @property
    def reads_pixels(self):
        """Whether anything of a clip reaches the classes; without USTA and CSTA nothing does."""
        return bool(self.comparison.baseline or self.model.csta or self.model.l_v or self.model.l_s)

    @model_validator(mode="after")
    def _fields_fit_each_other(self):
        if self.training.store_draws and self.frames.drawing == "uniform":
            raise ValueError("store_draws has no effect with drawing = 'uniform'; leave it 0")
        shown = self.frames.drawing, self.frames.special
        if self.training.video != "frames" and shown != ("uniform", "frames"):
            raise ValueError(
                f"video = {self.training.video!r} needs drawing = 'uniform' and special = 'frames', found "
                f"{self.frames.drawing!r} and {self.frames.special!r}"
            )
        if (self.training.loss == "own") != bool(self.comparison.baseline):
            raise ValueError("loss = 'own' is that of a baseline, and of each of them")
        if self.training.pretraining_epochs and not self.comparison.baseline:
            raise ValueError("pretraining_epochs: HSTA has no first stage; leave it 0")
        if self.comparison.baseline and self.training.precision != "float32":
            raise ValueError("a baseline trains as published: precision 'float32'")
        return self


class Datasets(Group):
    """Tables 5 and 6, in which the paper leaves one subject out: what a size does instead."""

    split: Literal["subject", "loso"] = "loso"  # where the notebook names none, and data are real
    n_micro: int = Field(860, ge=10)  # clips that are generated, at most
    seeds: list[int] = []  # where the notebook names none; empty: those of the other tables
    # Baselines, where the notebook names none; empty: those the paper prints. Their size and recipe,
    # as published or for a CPU; and how many epochs at most, 0: all.
    baselines: list[str] = []
    form: Literal["published", "reduced"] = "published"
    baseline_epochs: int = Field(0, ge=0)
    # Epochs of HSTA and of baselines, by name, in place of their own: each training then takes the
    # same seconds of one core; 0: it does not.
    epochs: dict[str, int] = {}
    core_seconds: float = Field(0, ge=0)
    # Whether each is also trained on labels shuffled within the training fold, with the first seed.
    baseline_controls: bool = False


class Audit(Group):
    """The audit, which decides no claim: the least that fits, of what the other notebooks have."""

    n_subjects: int = Field(94, ge=2)  # that are generated, at most; like the next
    n_micro: int = Field(860, ge=10)
    # Of its trainings; 0 or empty: as elsewhere.
    epochs: int = Field(0, ge=0)
    learning_rate: float = Field(0, ge=0)
    n_folds: Literal[0] | Annotated[int, Field(ge=2)] = 0
    seeds: list[int] = []
    # Strengths of the labels' tie to film and recording that are compared, see `Synthetic.tied_labels`.
    ties: list[float] = Field([0, 0.5, 1], min_length=1)


class Preset(Group):
    """A size of the study: one YAML file in ``params/``."""

    synthetic: Synthetic = Synthetic()
    frames: Frames = Frames()
    model: Model = Model()
    training: Training = Training()
    split: Folds = Folds()
    holdout: bool = False  # how synthetic data are divided where the notebook names no split
    seeds: list[int] = Field([0], min_length=1)
    n_boot: int = Field(2000, ge=100)
    audit: Audit = Audit()
    # Of recipe released, which learns more slowly; 0: too few steps for it, so that it is refused.
    released_epochs: int | None = Field(None, ge=0)  # None: as of the other recipe
    grids: dict[str, dict[str, list]] = {}
    # Of tables whose least networks need more steps: epochs of their rows, by recipe equations.
    epochs: dict[Literal["figure3", "table1", "table2", "table3", "table4"], Annotated[int, Field(ge=1)]] = {}
    # Training steps that HSTA takes at least on real data: more epochs where clips are few; 0: no more.
    least_steps: int = Field(0, ge=0)
    datasets: Datasets = Datasets()


class Parameters(Group):
    """The parameters every notebook takes; their defaults stand in its ``parameters`` cell."""

    preset: str = ""
    recipe: RecipeName = "equations"
    dataset: str = "synthetic"  # see `hsta_lib.data.table.DATASETS`
    data_root: str = ""
    variant: str = ""
    repair: RepairRule = "repaired"
    labels: str = ""
    split: Literal[SplitName, ""] = ""  # empty: the preset's
    lists_root: str = ""
    macro_clips: MacroRule = "none"
    seeds: list[int] = []
    workers: int | None = Field(None, ge=0)
    scheduler: str = ""  # address or file of a Dask scheduler; empty: workers on this machine
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")  # where trials are trained
    accept_other_code: bool = False  # use stored results of other code instead of training again
    grid: dict[str, list] = {}
    baselines: list[str] = []  # baselines of Tables 5 and 6; empty: those the paper prints
    export: bool = False  # figures and tables beside the report as SVG, PNG, CSV and LaTeX

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, values):
        """papermill's -p gives a list or dictionary as text: read it."""
        kinds = {"seeds": list, "baselines": list, "grid": dict}
        read = {}
        for name in (name for name, text in values.items() if name in kinds and _is_text(text)):
            with suppress(yaml.YAMLError):  # told below, as of the wrong kind
                read[name] = yaml.safe_load(values[name])
        return values | {name: value for name, value in read.items() if isinstance(value, kinds[name])}

    @model_validator(mode="after")
    def _layout_is_known(self):
        if self.dataset == "synthetic" and self.variant not in ("", *LAYOUTS):
            raise ValueError(
                f"variant = {self.variant!r}: synthetic is written in the layouts {', '.join(LAYOUTS)} or, "
                "if it is empty, that of casme3"
            )
        return self

    @property
    def layout(self):
        """The dataset whose folders, sheets and labels the data has: of synthetic data its variant."""
        return (self.variant or self.dataset) if self.dataset == "synthetic" else self.dataset

    @property
    def shows_flow(self):
        """Whether the data are published pictures of flow, without any frame."""
        return self.dataset == "megc2019_flow"


def _is_text(value):
    return isinstance(value, str) and value.strip().startswith(("[", "{"))


def validated(model, values, source):
    """Build a settings model from plain values, with an error a user can act on.

    Numbers given as text (``"1e-3"``, which YAML reads as text) are converted. ``source`` (str): what the
    values were read from, for the message. The ValueError names it, the field, its value and what is allowed.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{source}: must hold names and their values, found {values!r}")
    try:
        return model.model_validate(_renamed(values, source))
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        lines += [_HINTS[problem["type"]] for problem in error.errors() if _is_of_papermill(problem, source)]
        raise ValueError(f"{source}: " + "; ".join(lines)) from None


# Names of version 0.2, which are still read.
RENAMED = {"rivals": "baselines", "rival_epochs": "baseline_epochs", "rival_controls": "baseline_controls"}


def _renamed(values, source):
    """Values under the names of now; a line tells each older one."""
    for name in RENAMED.keys() & values.keys():
        print(f"{source}: {name} is called {RENAMED[name]} now; the old name will go with the next version")
    given = sorted(values, key=RENAMED.__contains__)  # an older name counts: the newer has its default
    named = {RENAMED.get(name, name): values[name] for name in given}
    return {name: _renamed(v, source) if isinstance(v, dict) else v for name, v in named.items()}


# What papermill made of a value on its command line.
_HINTS = {
    "list_type": "a list is given by -y 'seeds: [0, 1]' or -p seeds '[0, 1]'",
    "dict_type": "a dictionary is given by -y 'grid: {m: [1, 4]}'",
    "string_type": "-r instead of -p takes a value as it is written, such as 006",
}


def _is_of_papermill(problem, source):
    return source == "notebook parameters" and problem["type"] in _HINTS and len(problem["loc"]) == 1


def _explain(model, problem):
    if not problem["loc"]:  # of the model as a whole
        return problem["msg"].removeprefix("Value error, ")
    *parents, name = (str(part) for part in problem["loc"])
    field = ".".join([*parents, name])
    if problem["type"] != "extra_forbidden":
        return f"{field} = {problem['input']!r} is not allowed ({problem['msg']})"
    for parent in parents:
        model = model.model_fields[parent].annotation
    return f"{field} is unknown; known here: {', '.join(model.model_fields)}"


def preset_names():
    """Names of the presets in ``params/``: those of the library and the user's."""
    return sorted(_presets())


def _presets():
    folders = (SHIPPED / "params", ROOT / "params")  # the user's count
    return {path.stem: path for folder in folders for path in folder.glob("*.yaml")}


def load_preset(name=""):
    """Read a preset: its name, and the `Preset`; a ValueError if there is none, or its file is wrong.

    ``name``: of a file in ``params/``, without its ending; empty: ``HSTA_PRESET`` if set, else ``quick``.
    """
    name = name or os.environ.get("HSTA_PRESET") or "quick"
    if name not in _presets():
        raise ValueError(f"preset = {name!r} is unknown; known in params/: {', '.join(preset_names())}")
    path = _presets()[name]
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"params/{path.name} is no YAML file: {error}") from error
    return name, validated(Preset, values or {}, f"params/{path.name}")


def data_dir():
    """Folder of generated data and frame caches: ``HSTA_DATA``, else ``data/``."""
    return Path(os.environ.get("HSTA_DATA") or ROOT / "data")


def results_dir():
    """Folder of trial results: ``HSTA_RESULTS``, else ``results/``."""
    return Path(os.environ.get("HSTA_RESULTS") or ROOT / "results")


def silent_seconds():
    """How long a worker may be silent before it is replaced: ``HSTA_SILENT_SECONDS``, else a minute."""
    given = os.environ.get("HSTA_SILENT_SECONDS") or "60"
    if not given.isdigit() or int(given) < 10:
        raise ValueError(f"HSTA_SILENT_SECONDS = {given!r} must be a whole number of seconds, 10 or more")
    return int(given)


EXECUTE = "hsta_lib.commands.execute"  # what ``make`` starts


def records_dir():
    """Folder of what a report writes beside itself: that of the notebook papermill is writing, else local.

    Local is ``reports/local``, which git ignores, in JupyterLab and wherever papermill did not start this
    kernel.
    """
    return written.parent if (written := written_notebook()) else ROOT / "reports" / "local"


def shown_path(path):
    """A path for reading: from the repository's root if it lies there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def written_notebook():
    """The notebook that this kernel's parent writes, if it is papermill's command and writes a file."""
    process = psutil.Process().parent()
    try:
        arguments, folder = process.cmdline(), process.cwd()
    except (AttributeError, psutil.Error):  # no parent, or not ours to look at
        return None
    started = [n for n, text in enumerate(arguments) if Path(text).stem == "papermill" or text == EXECUTE]
    notebooks = [text for text in arguments[started[0] :] if text.endswith(".ipynb")] if started else []
    return Path(folder, notebooks[1]) if len(notebooks) > 1 and "://" not in notebooks[1] else None


def n_cores():
    """Cores this process may use: in a container or batch job, fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def trained_for(training, epochs):
    """A recipe with as many epochs; 0: its own."""
    return training.model_copy(update={"epochs": epochs or training.epochs})


def with_fields(settings, **fields):
    """Copy of settings with some fields of its groups replaced, found by their names.

    Names are unique across groups. A ValueError if one is unknown or a value is not allowed.

    Examples
    --------
    >>> with_fields(Settings(), m=7, epochs=3).model.m
    7
    """
    values = settings.model_dump()
    for name, value in fields.items():
        values[_group_of(name)][name] = value
    return validated(Settings, values, "settings")


# Steps from Eqs. 1-16 and section 4.1 to the authors' code. What a step sets may depend on the size: ratios
# to the video branch and to the base rate are those of the full size.
RELEASED_STEPS = {
    "two widths": lambda s: {"d_special": s.model.d // 2},
    "two patch sizes, border unread": lambda s: {
        "patch_size_special": 3 * s.model.patch_size // 4, "border": "crop",
    },
    "several heads": lambda s: {"heads": _most_heads(s.model.d, s.model.d_special or s.model.d)},
    "biases of q, k and v": lambda _: {"attention_bias": True},
    "projection after attention": lambda _: {"projection": True},
    "pre-norm, a norm per branch at the end": lambda _: {
        "pre_norm": True, "eps": 1e-6, "head": "branch_ln_linear",
    },
    "feed-forward network": lambda _: {"feed_forward": 4},
    "dropout": lambda _: {"dropout": 0.2},
    "stochastic depth": lambda _: {"drop_path": 0.2},
    "cross-entropy": lambda _: {"loss": "cross_entropy"},
    "schedule": lambda s: {
        "learning_rate": 1.25 * s.training.learning_rate, "final_rate": s.training.learning_rate / 400,
        "warmup_start": 0, "peak_twice": True,
    },
    "layer decay": lambda _: {"layer_decay": 0.9},
    "no weight decay of biases": lambda _: {"decay_biases": False},
    "frames drawn at random": lambda _: {"drawing": "random"},
}  # fmt: skip


def as_released(settings):
    """Settings of the recipe ``released``: all of `RELEASED_STEPS`, at the size the settings have."""
    for step in RELEASED_STEPS.values():
        settings = with_fields(settings, **step(settings))
    return settings


def _most_heads(*widths):
    """The most heads, 12 or fewer, that divide all widths."""
    return max(n for n in range(1, 13) if not any(width % n for width in widths))


def field_value(settings, name):
    """Value of a field of any group, by its name; see `with_fields`."""
    return getattr(getattr(settings, _group_of(name)), name)


def _groups():
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {
        name: group for name, group in groups.items() if isinstance(group, type) and issubclass(group, Group)
    }


def _group_of(field):
    owners = [name for name, group in _groups().items() if field in group.model_fields]
    if not owners:
        known = ", ".join(name for group in _groups().values() for name in group.model_fields)
        raise ValueError(f"{field!r} is no setting; known settings: {known}")
    return owners[0]
