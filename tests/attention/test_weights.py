"""Attention maps: they are the network's own attention, and lie on the tubelets they speak of."""

import dataclasses
import re

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from einops import rearrange
from test_released import SMALL, built, their_weights
from tiny import network_of, tiny_dataset, tiny_settings, tiny_trials
from torch.nn import functional

from hsta_lib.attention import networks, own_clip, plots
from hsta_lib.attention import weights as attention
from hsta_lib.config import Frames, Synthetic, as_released
from hsta_lib.data.frames import cache_frames, choose_frames
from hsta_lib.data.splits import make_folds
from hsta_lib.data.synthetic.population import clip_rows
from hsta_lib.training import fit
from hsta_lib.training.trials import make_trials, settings_of

pytestmark = pytest.mark.usefixtures("one_thread")

# Video: 3 * 5 * 5 tubelets, special: 1 * 5 * 5.
EQUATIONS = {
    "n_classes": 7, "n_frames": 6, "image_size": 15, "patch_size": 3, "tubelet_size": 2, "d": 11, "m": 2,
    "l_v": 2, "l_s": 1, "csta": True, "positions": "sincos", "mlp": "ln_gelu_linear", "head": "linear",
    "init": "normal",
}  # fmt: skip
# Both sides compute in float64, of order 1.
CLOSE = {"rtol": 0, "atol": 1e-9}


def randomised(model):
    model = model.double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return model


def pixels(size):
    generator = torch.Generator().manual_seed(4)
    shapes = (2, 3, 6, size, size), (2, 3, 2, size, size)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def inputs_of(model, clips, layers):
    """What layers are given and give, by hooks of the test's own."""
    noted = {}
    for layer in layers:
        layer.register_forward_hook(lambda layer, given, out: noted.__setitem__(layer, (given, out)))
    with torch.no_grad():
        model(*clips)
    return noted


@pytest.fixture(params=["equations", "released"])
def network_and_clips(request):
    if request.param == "equations":
        model, clips = randomised(network_of(**EQUATIONS)), pixels(15)
    else:
        model, clips = randomised(built(SMALL)), pixels(22)
    return model, model.cut(*clips)


# --- the weights are the layers' own ----------------------------------------------------------------------


def test_usta_weights_make_the_output_of_the_layer(network_and_clips):
    model, clips = network_and_clips
    layers = [layer.attention for block in model.blocks for layer in (*block.usta_video, *block.usta_special)]
    noted = inputs_of(model, clips, layers)
    assert len(noted) == len(layers)
    for layer, ((tokens,), out) in noted.items():
        weights = attention.usta_weights(layer, tokens)
        values = functional.linear(tokens, layer.qkv.weight)[..., -tokens.shape[-1] :]
        values = values if layer.v_bias is None else values + layer.v_bias
        values = rearrange(values, "b n (heads e) -> b heads n e", heads=layer.heads)
        read = rearrange(torch.einsum("bhn,bhne->bhe", weights, values), "b heads e -> b (heads e)")
        torch.testing.assert_close(layer.projection(read), out[:, 0], **CLOSE)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]).double(), **CLOSE)


def test_csta_weights_make_the_output_of_the_layer(network_and_clips):
    model, clips = network_and_clips
    layers = [layer for block in model.blocks for layer in (block.csta.video, block.csta.special)]
    for layer, ((cls, features), out) in inputs_of(model, clips, layers).items():
        weights = attention.csta_weights(layer, cls, features)
        raised = layer.mlp1(cls)
        x = torch.cat([layer.norm(raised), layer.norm(features)], dim=1)
        values = rearrange(layer.value(x), "b n (heads e) -> b heads n e", heads=weights.shape[1])
        read = rearrange(torch.einsum("bhn,bhne->bhe", weights, values), "b heads e -> b 1 (heads e)")
        torch.testing.assert_close(layer.mlp2(raised + layer.projection(read)), out, **CLOSE)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]).double(), **CLOSE)


def test_looking_changes_no_score_and_leaves_no_hook(network_and_clips):
    model, clips = network_and_clips
    with torch.no_grad():
        expected = model(*clips)
    scores, weights = attention.attention_weights(model.train(), *clips)
    assert torch.equal(scores, expected)
    assert not any(module._forward_pre_hooks for module in model.modules())
    n_tokens = {"video": model.embed_video.n_tokens, "special": model.embed_special.n_tokens}
    for way, branch in attention.READS.items():
        assert weights[way].shape == (2, 2, 1 + n_tokens[branch])
        torch.testing.assert_close(weights[way].sum(dim=-1), torch.ones(2, 2).double(), **CLOSE)


@pytest.mark.parametrize("lacking", [{"csta": False}, {"l_v": 0}, {"l_s": 0}])
def test_a_network_without_one_of_the_attentions_is_refused(lacking):
    with pytest.raises(ValueError, match="USTA in both branches and CSTA"):
        attention.attention_weights(network_of(**EQUATIONS | lacking), None, None)


# --- planted: a network that attends to one tubelet -------------------------------------------------------


def planted_network():
    """Its CLS tokens attend to the brightest tubelet of what they read, in every module."""
    model = network_of(
        **EQUATIONS | {"positions": "none", "mlp": "linear", "l_v": 1, "n_classes": 3}
    ).double()
    d, first, second = 11, torch.zeros(11, dtype=torch.float64), torch.zeros(11, dtype=torch.float64)
    first[0], second[1] = 1, 1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for embed in (model.embed_video, model.embed_special):
            embed.project.weight[0] = 1  # brightness along the first axis
            embed.cls[...] = second
        for block in model.blocks:
            for layer in (*block.usta_video, *block.usta_special):
                layer.attention.qkv.weight[:d] = 100 * torch.outer(first, second)  # CLS asks for brightness
                layer.attention.qkv.weight[d : 2 * d] = torch.eye(d)
                layer.norm.weight.fill_(1)  # values are zero: tokens pass through
            for cross in (block.csta.video, block.csta.special):
                for mlp in (cross.mlp1, cross.mlp2):
                    mlp.weight[...] = torch.eye(d)
                cross.query.weight[...] = 100 * torch.outer(first, second)
                cross.key.weight[...] = torch.eye(d)
    return model


def looked_at_plants(tmp_path):
    """Two clips with a bright block each: at one tubelet of the video, at another place of onset and apex."""
    frames = np.zeros((2, 8, 15, 15, 3), np.uint8)
    frames[0, 2:4, 3:6, 9:12] = 200  # tubelet 1, row 1, column 3
    frames[1, 4:6, 12:15, 0:3] = 200  # tubelet 2, row 4, column 0
    frames[0, 6:, 6:9, 12:15] = 200  # row 2, column 4
    frames[1, 6:, 0:3, 3:6] = 200  # row 0, column 1
    data = tiny_dataset(tmp_path, n_clips=2, n_subjects=2, size=15)
    np.save(data.frames_path, frames)
    settings = tiny_settings(image_size=15, patch_size=3, d=11, n_folds=2)
    trial = dataclasses.replace(tiny_trials()[0], settings=settings)
    network = networks.Network(planted_network().float(), trial, np.full(3, True), "planted")
    return attention.look(network, data, np.arange(2))


def test_maps_lie_on_the_tubelet_that_was_attended_to(tmp_path):
    looked = looked_at_plants(tmp_path)
    assert looked.grids == {"video": (3, 5, 3), "special": (1, 5, 3)}
    video, special = [(1, 1, 3), (2, 4, 0)], [(0, 2, 4), (0, 0, 1)]
    for way, places in {"usta_video": video, "csta_special": video, "usta_special": special,
                        "csta_video": special}.items():  # fmt: skip
        maps = looked.maps(way)
        assert maps.shape[:2] == (2, 2)
        for clip, place in enumerate(places):
            for module in range(2):
                assert maps[clip, module][place] > 0.99
                assert maps[clip, module].sum() <= 1 + 1e-6


def test_the_figure_shows_the_map_over_the_bright_block(tmp_path):
    looked = looked_at_plants(tmp_path)
    drawn = plots.attention_maps(**looked.overlay("usta_video"))
    panels = [axes for axes in drawn.axes if len(axes.images) == 2]
    assert len(panels) == 12  # a column per clip, a row per frame
    for panel, (frame, clip) in zip(panels, np.ndindex(6, 2), strict=True):
        picture, heat = (image.get_array() for image in panel.images)
        assert np.array_equal(picture, looked.frames[clip, frame].mean(axis=2))
        assert panel.images[1].get_extent() == [-0.5, 14.5, 14.5, -0.5]
        enlarged = np.kron(heat, np.ones((3, 3)))
        is_bright = picture > 0
        assert is_bright.any() == (frame // 2 == (1, 2)[clip])
        assert (2 ** enlarged[is_bright] > 0.99 * 76).all()  # times an equal share of 75 tubelets and CLS
        assert enlarged.max() < 0 or is_bright.any()


def test_over_time_the_shares_are_those_of_the_maps(tmp_path):
    shares, equal = looked_at_plants(tmp_path).over_time("usta_video")
    assert shares.shape == (2, 4)
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    assert shares[0].argmax() == 2  # CLS, then tubelets 0, 1, 2
    assert shares[1].argmax() == 3
    assert equal == pytest.approx(np.array([1, 25, 25, 25]) / 76)


# --- networks are trained as trials are, and kept ---------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"drawing": "random"}, {"dropout": 0.2, "projection": True}])
def test_a_network_that_is_kept_scores_bit_identically_to_its_trial(tmp_path, fields):
    data = tiny_dataset(tmp_path, n_frames=51 if "drawing" in fields else 6)
    data.clips["offset"] = 60
    trial = tiny_trials(**fields)[1]
    expected = fit.fit(trial, data)["predictions"]
    test = make_folds(data.clips, **trial.settings.split.model_dump())[1].test
    for _ in range(2):  # trained, then as stored
        network = networks.trained(trial, data, tmp_path)
        looked = attention.look(network, data, test)
        assert looked.scores.tolist() == expected["scores"]
        assert looked.clips["clip_id"].tolist() == expected["clip_id"]


def test_a_stored_network_is_not_trained_again(dataset, tmp_path, monkeypatch):
    trial = tiny_trials()[0]
    first = networks.trained(trial, dataset, tmp_path)
    monkeypatch.setattr(networks, "train_model", None)
    again = networks.trained(trial, dataset, tmp_path)
    for name, values in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], values)
    assert again.seen.tolist() == [True, True, True]


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def _flip(path):
    weights = torch.load(path, weights_only=True)["state_dict"]["head.weight"].numpy().tobytes()
    changed = bytes([weights[0] ^ 1]) + weights[1:]
    content = path.read_bytes()
    assert content.count(weights) == 1
    path.write_bytes(content.replace(weights, changed))


def _of_another_trial(path):
    content = torch.load(path, weights_only=True)
    torch.save(content | {"trial": content["trial"] | {"seed": 7}}, path)


@pytest.mark.parametrize("damage", [_truncate, _flip, _of_another_trial])
def test_a_damaged_network_is_trained_again_and_said_so(dataset, tmp_path, capsys, damage):
    trial = tiny_trials()[0]
    first = networks.trained(trial, dataset, tmp_path)
    damage(tmp_path / f"{trial.id}.pt")
    capsys.readouterr()
    again = networks.trained(trial, dataset, tmp_path)
    assert "is damaged" in capsys.readouterr().out
    for name, values in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], values)
    networks.trained(trial, dataset, tmp_path)
    assert capsys.readouterr().out == ""


def test_classes_without_a_training_clip_have_no_probability(dataset, tmp_path):
    network = networks.trained(tiny_trials()[0], dataset, tmp_path)
    network = network._replace(seen=np.array([True, False, True]))
    looked = attention.look(network, dataset, np.arange(5))
    assert looked.probabilities[:, 1].tolist() == [0] * 5
    assert looked.probabilities.sum(axis=1) == pytest.approx(np.ones(5))


class OneFoldStudy:
    """What `open_network` asks of a study, with the recipe of the authors' code."""

    settings = as_released(tiny_settings(d=12, epochs=1))

    def folds(self, dataset):
        return make_folds(dataset.clips, **self.settings.split.model_dump())

    def trials(self, dataset, cells):
        n_folds = len(self.folds(dataset))
        variants = settings_of(self.settings, cells)
        return [make_trials(settings, n_folds, [0], dataset.fingerprint) for settings in variants]


def test_a_checkpoint_of_the_authors_code_is_looked_into(dataset, tmp_path):
    settings = OneFoldStudy.settings
    sizes = {"n_classes": 3, **settings.model.model_dump(), "m": 3, "l_v": 1, "l_s": 2}
    torch.save({"model": their_weights(sizes), "epoch": 4}, tmp_path / "best.pth")
    data = tiny_dataset(tmp_path, n_frames=51)
    network = networks.open_network(OneFoldStudy(), data, 1, str(tmp_path / "best.pth"))
    assert (network.trial.fold, network.trial.settings.model.l_s) == (1, 2)
    assert "best.pth" in network.origin
    looked = attention.look(network, data, np.arange(5))
    # 8 px in patches of 3: the border is not read.
    assert looked.weights["usta_special"].shape == (5, 3, 1 + 4)
    assert looked.maps("usta_special").shape == (5, 3, 1, 2, 2)
    plots.attention_maps(**looked.overlay("usta_special"))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*no file"):
        networks.open_network(OneFoldStudy(), data, 1, str(tmp_path / "nowhere.pth"))
    with pytest.raises(ValueError, match="fold = 3: there are 3, counted from 0"):
        networks.open_network(OneFoldStudy(), data, 3)


def test_depths_of_a_checkpoint_are_those_of_its_tensors():
    sizes = SMALL | {"m": 3, "l_v": 2, "l_s": 5}
    assert networks.depths(their_weights(sizes)) == {"m": 3, "l_v": 2, "l_s": 5}
    with pytest.raises(ValueError, match="another network"):
        networks.depths({"head.weight": torch.zeros(1)})


# --- which clips are shown --------------------------------------------------------------------------------


def test_the_first_clip_of_each_class_by_its_id_is_shown(dataset, tmp_path):
    network = networks.trained(tiny_trials()[0], dataset, tmp_path)
    rows = np.array([22, 3, 17, 5, 4, 1])  # subjects 2 3 2 0 4 1, by which ids begin; classes 1 0 2 2 1 1
    shown = attention.first_of_each_class(attention.look(network, dataset, rows))
    assert shown.clips["clip_id"].tolist() == ["tiny/s3/a/003", "tiny/s1/a/001", "tiny/s0/a/005"]
    assert np.array_equal(shown.frames, dataset.frames()[[3, 1, 5]])
    assert shown.names[0] == "low\ns3/a/003"


def namespace(**values):
    written = {"preset": "smoke", "recipe": "equations", **values}
    source = "\n".join(f"{name} = {value!r}" for name, value in written.items())
    return {"In": ["", source, "start"], **written}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"apex": 7}, r"apex = 7 .*give clip"),
        ({"clip": "a.mp4", "onset": 9, "apex": 4}, r"onset = 9, apex = 4: onset <= apex <= offset"),
        ({"clip": "a.mp4", "apex": 9, "offset": 4}, r"apex = 9, offset = 4: onset <= apex <= offset"),
        ({"fold": -1}, "fold = -1 is not allowed"),
        ({"fold": 2}, "fold = 2: split 'subject' has 2, counted from 0"),
        ({"fold": 1, "split": "holdout"}, "fold = 1: split 'holdout' has 1"),
        ({"fold": 99, "split": "subject_seen"}, "fold = 99: split 'subject_seen' has 4"),
        ({"clipp": "a.mp4"}, "clipp is unknown"),
        ({"checkpoint": "a.pth"}, r"a\.pth.*recipe = 'released'"),
        (
            {
                "checkpoint": "a.pth",
                "recipe": "released",
                "preset": "study",
                "split": "subject",
                "seeds": [3],
            },
            "seeds has no effect with checkpoint",
        ),
    ],
)
def test_wrong_parameters_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        attention.start("attention", namespace(**values))


def test_parameters_of_the_notebook_and_of_all_notebooks_are_both_read(folder):
    given = namespace(fold=3, clip=str(folder), onset=102, split="loso")
    study, choice = attention.start("attention", given)
    assert (study.preset_name, study.parameters.split) == ("smoke", "loso")
    assert (choice.fold, choice.clip, choice.onset, choice.apex) == (3, str(folder), 102, None)


# --- a clip of one's own ----------------------------------------------------------------------------------

FRAMES = Frames(image_size=8)


def pictures(n=17):
    """Grey frames that brighten up to the eleventh and darken again."""
    levels = 40 + 10 * np.minimum(np.arange(n), 20 - np.arange(n))
    return [np.full((40, 60, 3), level, np.uint8) for level in levels]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "smile"
    place.mkdir()
    for number, picture in enumerate(pictures(), start=101):
        cv2.imwrite(str(place / f"img{number}.png"), picture)
    return place


@pytest.fixture
def video(tmp_path):
    place = tmp_path / "smile.avi"
    writer = cv2.VideoWriter(str(place), cv2.VideoWriter_fourcc(*"MJPG"), 25, (60, 40))
    for picture in pictures():
        writer.write(picture)
    writer.release()
    return place


def own(dataset, frames=FRAMES, **choice):
    with own_clip.own_clip(attention.Choice(**choice), frames, dataset) as found:
        return found.clips.iloc[0], found.frames()[0].copy()


def test_a_folder_is_cut_and_its_apex_estimated(dataset, folder):
    row, frames = own(dataset, clip=str(folder))
    assert (row["onset"], row["apex"], row["offset"], row["label"]) == (101, 111, 117, -1)
    expected = [pictures()[number - 101][0, 0, 0] for number in [*choose_frames(101, 117, 6), 101, 111]]
    assert frames[:, 0, 0, 0].tolist() == expected


def test_given_frame_numbers_are_taken(dataset, folder):
    row, frames = own(dataset, clip=str(folder), onset=103, apex=105, offset=108)
    assert (row["onset"], row["apex"], row["offset"]) == (103, 105, 108)
    assert frames[-2:, 0, 0, 0].tolist() == [60, 80]


def test_a_video_is_read_as_its_frames_are(dataset, folder, video):
    shift = {"onset": 3, "apex": 5, "offset": 8}
    _, from_video = own(dataset, clip=str(video), **shift)
    _, from_folder = own(dataset, clip=str(folder), **{name: 100 + n for name, n in shift.items()})
    assert np.abs(from_video.astype(int) - from_folder).max() <= 2  # JPEG of even grey
    row, _ = own(dataset, clip=str(video))
    assert (row["onset"], row["apex"], row["offset"]) == (1, 11, 17)


def test_nothing_of_the_clip_is_left_on_the_disk(dataset, folder):
    with own_clip.own_clip(attention.Choice(clip=str(folder)), FRAMES, dataset) as found:
        path = found.frames_path
        assert path.exists()
    assert not path.exists()


def test_a_clip_is_seen_as_one_of_a_dataset_is(tmp_path, dataset, folder):
    row, frames = own(dataset, clip=str(folder), apex=111)
    clips = row.to_frame().T.astype({"onset": int, "apex": int, "offset": int}).assign(folder=folder)
    path, *_ = cache_frames(clips, FRAMES, tmp_path / "cache")
    assert np.array_equal(np.load(path)[0], frames)


def test_a_clip_that_cannot_be_used_is_refused_in_one_message(dataset, tmp_path, folder, video):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 50)
    with pytest.raises(ValueError, match=r"broken\.mp4.*cannot be decoded as a video"):
        own(dataset, clip=str(broken))
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no such file or folder"):
        own(dataset, clip=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty.*folder without frames: it is empty"):
        own(dataset, clip=str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"without a face that can be found"):
        own(dataset, FRAMES.model_copy(update={"crop": "face"}), clip=str(folder))
    with pytest.raises(ValueError, match=r"'boxes' needs the box"):
        own(dataset, FRAMES.model_copy(update={"crop": "boxes"}), clip=str(folder))
    with pytest.raises(ValueError, match=r"onset = 30, but only 17 frames"):
        own(dataset, clip=str(video), onset=30)
    with pytest.raises(ValueError, match=r"onset = -2.*its frames are 1 to 17"):
        own(dataset, clip=str(video), onset=-2)
    for name, number in {"onset": 99, "offset": 118, "apex": 100}.items():
        with pytest.raises(ValueError, match=rf"{name} = {number}.*its frames are 101 to 117"):
            own(dataset, clip=str(folder), **{name: number})


def test_what_was_taken_of_a_clip_is_said(dataset, folder, video, capsys):
    own(dataset, clip=str(folder))
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "onset 101, apex 111, offset 117",
        "the video branch sees the frames 101, 104, 107, 111, 114, 117",
        "60 x 40 px are squashed to a square, as crop = 'none' does with every frame",
        "no apex given: the frame most unlike the onset",
    ]
    next(folder.glob("*105.png")).write_bytes(b"")
    own(dataset, FRAMES.model_copy(update={"crop": "center_square"}), clip=str(folder), apex=111)
    told = capsys.readouterr().out
    assert "squashed" not in told
    assert "missing or cannot be decoded: 1 frame, 105;" in told
    next(folder.glob("*111.png")).write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"cannot be used: img111\.png: truncated or no image \(4 bytes\)"):
        own(dataset, clip=str(folder), apex=111)


def test_a_video_cut_off_keeps_its_length_and_names_the_frames_that_are_lost(dataset, video, capsys):
    content = video.read_bytes()
    frames = [match.start() for match in re.finditer(b"00dc", content)]  # the second half are the index
    video.write_bytes(content[: frames[13] + 9])
    row, _ = own(dataset, clip=str(video))
    assert (row["onset"], row["offset"]) == (1, 17)
    told = capsys.readouterr().out
    assert "missing or cannot be decoded: 5 frames, 13, 14, 15, 16, 17; behind a damaged place" in told
    video.write_bytes(content[: frames[8]])
    with pytest.raises(ValueError, match="10 of 17 frames missing"):
        own(dataset, clip=str(video))


def test_a_frame_that_cannot_be_decoded_is_no_end_of_a_video(dataset, video, monkeypatch, capsys):
    class Damaged:
        """Frames 8 and 9 cannot be decoded; the header says how many there are."""

        def __init__(self, path):
            self.video, self.number = cv2_video(path), 0
            self.get, self.retrieve, self.release = self.video.get, self.video.retrieve, self.video.release

        def grab(self):
            self.number += 1
            return self.video.grab() and self.number not in (8, 9)

    cv2_video = cv2.VideoCapture
    whole, _ = own(dataset, clip=str(video))
    capsys.readouterr()
    monkeypatch.setattr(own_clip.cv2, "VideoCapture", Damaged)
    row, _ = own(dataset, clip=str(video))
    assert row[["onset", "apex", "offset"]].tolist() == whole[["onset", "apex", "offset"]].tolist()
    assert "missing or cannot be decoded: 2 frames, 8, 9;" in capsys.readouterr().out


def test_a_video_that_states_no_number_of_frames_is_read_to_its_end_and_that_is_told(
    dataset, tmp_path, capsys
):
    place = tmp_path / "smile.mpg"  # MPEG-PS
    writer = cv2.VideoWriter(str(place), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"PIM1"), 25, (60, 40))
    for picture in pictures():
        writer.write(picture)
    writer.release()
    row, _ = own(dataset, clip=str(place))
    assert (row["onset"], row["offset"]) == (1, 17)
    assert "17 frames are read, where decoding ends; the file does not state" in capsys.readouterr().out


def test_of_a_damaged_video_one_line_is_told_and_none_of_its_decoder(dataset, tmp_path, capfd):
    place = tmp_path / "smile.avi"
    writer = cv2.VideoWriter(str(place), cv2.VideoWriter_fourcc(*"XVID"), 25, (64, 64))
    for seed in range(17):
        writer.write(np.random.default_rng(seed).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    writer.release()
    content = bytearray(place.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    place.write_bytes(content)
    own(dataset, clip=str(place))
    assert "[" not in capfd.readouterr().err


def test_one_picture_is_no_clip_and_of_a_still_one_it_is_said_that_nothing_moves(dataset, folder, capsys):
    picture = next(folder.glob("*101.png"))
    with pytest.raises(ValueError, match="one frame, 1, in which nothing can move"):
        own(dataset, clip=str(picture))
    with pytest.raises(ValueError, match="one frame, 103, in which nothing can move"):
        own(dataset, clip=str(folder), onset=103, offset=103)
    for path in folder.iterdir():
        path.write_bytes(picture.read_bytes())
    own(dataset, clip=str(folder))
    assert "the apex is the onset: nothing moves" in capsys.readouterr().out


def test_a_clip_that_cannot_be_read_stops_the_notebook_in_its_first_cell(tmp_path, folder, video):
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 50)
    for clip, words in {
        "broken.mp4": "cannot be decoded as a video",
        "smiel/img101.png": "no such file or folder; the nearest folder is .*smile",
        ".": "folder without frames",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            attention.start("attention", namespace(clip=str(tmp_path / clip)))
    with pytest.raises(ValueError, match="offset = 117, but its frames are 101 to 117"):
        attention.start("attention", namespace(clip=str(folder), onset=99))
    with pytest.raises(ValueError, match="offset = 99, but its frames are 1 to 17"):
        attention.start("attention", namespace(clip=str(video), offset=99))
    for picture in folder.iterdir():
        picture.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be"):
        attention.start("attention", namespace(clip=str(folder)))
    (tmp_path / "broken.pth").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"broken\.pth"):
        attention.start(
            "attention", namespace(checkpoint=str(tmp_path / "broken.pth"), recipe="released", preset="study")
        )
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        attention.start("attention", namespace(checkpoint=str(tmp_path / "nowhere.pth"), recipe="released"))


def test_a_film_as_a_clip_is_refused(dataset, video, monkeypatch):
    monkeypatch.setattr(own_clip, "_LONGEST", 7)
    with pytest.raises(ValueError, match="more than 7 frames; give onset and offset"):
        own(dataset, clip=str(video))
    assert own(dataset, clip=str(video), onset=3, offset=9)[0]["offset"] == 9


# --- attention and movement -------------------------------------------------------------------------------


def test_moving_places_are_where_the_expression_moves():
    spec = Synthetic(generator_seed=1, n_subjects=3, n_micro=11, frame_size=32)
    rows = clip_rows(spec)
    moving = attention.moving_places(spec, rows["clip_id"], 35, 7)
    assert moving.shape == (11, 5, 5)
    assert (moving.sum(axis=(1, 2)) == 6).all()  # a quarter of 25, rounded
    for clip_id, places in zip(rows["clip_id"], moving, strict=True):
        length = np.linalg.norm(attention.true_flow(spec, clip_id, size=35), axis=2)
        means = length.reshape(5, 7, 5, 7).mean(axis=(1, 3))
        assert means[places].mean() > 2 * means[~places].mean()


def made_looked(maps, subjects):
    """Clips whose attention on a grid of 1 x 2 x 2 is given, the same in all ways; one module."""
    n_clips = len(maps)
    weights = np.concatenate([np.full((n_clips, 1, 1), 0.5), 0.5 * np.array(maps)[:, None]], axis=2)
    ids = [f"c{i}" for i in range(n_clips)]
    clips = pd.DataFrame({"clip_id": ids, "subject_id": subjects})
    grids = {"video": (1, 2, 3), "special": (1, 2, 3)}
    ways = dict.fromkeys(attention.READS, weights)
    zeros = np.zeros(n_clips)
    return attention.Looked(clips, zeros, zeros, zeros, ways, grids, ("onset", "apex"), ("a",))


def test_shares_on_motion_by_hand():
    # Three clips, each moving at a place of its own; the first attends to its own place alone.
    moving = np.zeros((3, 2, 2), bool)
    moving[[0, 1, 2], [0, 0, 1], [0, 1, 0]] = True
    maps = [[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.2, 0.1, 0.2]]
    looked = made_looked(maps, ["s", "t", "u"])
    table = attention.share_on_motion(looked, {"video": moving, "special": moving})
    assert table["way"].tolist() == list(attention.READS)
    row = table.iloc[0]
    assert row["share"] == pytest.approx((1 + 0.25 + 0.1) / 3)
    # Of the others' places: 0 and 0; 0.25 and 0.25; 0.5 and 0.2.
    assert row["others"] == pytest.approx((0 + 0.25 + 0.35) / 3)
    assert row["difference"] == pytest.approx(row["share"] - row["others"])
    assert row["chance"] == 0.25


def test_equal_attention_is_at_chance_exactly_and_attention_on_motion_above_it():
    rng = np.random.default_rng(0)
    moving = np.eye(4, dtype=bool)[rng.integers(4, size=23)].reshape(23, 2, 2)
    subjects = [f"s{i % 5}" for i in range(23)]
    even = np.full((23, 4), 0.25)
    follows = 0.8 * even + 0.2 * moving.reshape(23, 4)
    shuffled = np.roll(follows, 1, axis=0)
    tables = [attention.share_on_motion(made_looked(maps, subjects), {"video": moving, "special": moving})
              for maps in (even, follows, shuffled)]  # fmt: skip
    assert tables[0]["share"].tolist() == pytest.approx([0.25] * 4)
    assert (tables[1]["share_low"] > 0.25).all()
    assert (tables[1]["difference_low"] > 0).all()
    assert (tables[2]["difference_low"] < 0).all()
    words = attention.conclude(tables[1]).data
    assert words.count("above chance") == 4
    assert words.count("above zero") == 4
    deeper = pd.concat([tables[0], tables[2].assign(module=2), tables[1].assign(module=3)])
    words = attention.conclude(deeper).data
    assert words.startswith("- **Most where the clip moves: ")
    assert (words.count("module 1"), words.count("module 3")) == (4, 5)
    assert "module 2" not in words


def test_the_interval_is_that_of_a_mean_where_every_subject_has_one_clip():
    values = np.array([1.0, 4.0, 2.0, 9.0, 5.0])
    mean, low, high = attention.subject_interval(values, list("abcde"))
    error = values.std(ddof=1) / np.sqrt(5)
    assert mean == pytest.approx(4.2)
    assert (high - low) / 2 == pytest.approx(2.776445 * error)  # t with 4 degrees of freedom, 97.5 %
    assert np.isnan(attention.subject_interval(values, ["a"] * 5)[1:]).all()
    # Clips of a subject that are all alike tell no more than one.
    repeated = attention.subject_interval(np.repeat(values, 7), np.repeat(list("abcde"), 7))
    assert repeated == pytest.approx((mean, low, high))


def test_movement_is_only_claimed_where_it_is_known():
    study, _ = attention.start("attention", namespace())
    other = study.variant(dataset="casme3", data_root="x")
    assert attention.motion_of(other, None, attention.Choice()) is None
    assert "not known" in attention.conclude(None).data
    assert plots.attention_on_motion(None, attention.NAMES) is None


def test_of_your_own_clip_the_measured_movement_counts(tmp_path, monkeypatch):
    looked = looked_at_plants(tmp_path).rows(np.array([0]))
    flow = np.zeros((15, 15, 2))
    flow[6:9, 12:15] = 3, 4  # row 2, column 4: where the special pictures are attended to
    monkeypatch.setattr(attention, "optical_flow", lambda first, second, method: flow)
    monkeypatch.setattr(attention.own_clip, "check", lambda choice, frames: None)
    study, choice = attention.start("attention", namespace(clip="mine.mp4"))
    table = attention.motion_of(study, looked, choice).set_index("way")
    assert (table.loc[["usta_special", "csta_video"], "share"] > 0.99).all()
    assert (table.loc[["usta_video", "csta_special"], "share"] < 0.01).all()
    assert table["chance"].unique().tolist() == [6 / 25]  # a quarter of 25 places, rounded
    words = attention.conclude(table.reset_index()).data
    assert words.count("one clip has no interval") == 8
    assert "24.0 % of places that move most, of your clip, by its optical flow" in words
    (panel, *_) = plots.attention_on_motion(table.reset_index(), attention.NAMES).axes
    assert [line.get_label() for line in panel.lines] == ["moving in the clip", "chance"]
    assert study.given["clip"] == "mine.mp4"
    of_flow = dataclasses.replace(looked, pictures=("onset to apex", "apex to offset"))
    assert attention.motion_of(study, of_flow, choice) is None


def test_equal_attention_is_in_the_middle_of_the_scale(tmp_path):
    looked = looked_at_plants(tmp_path)
    drawn = looked.overlay("usta_video")
    maps = np.full_like(drawn["maps"], 1 / (1 + drawn["maps"][0].size))
    maps[0, 0, 0, 0] *= 4
    figure = plots.attention_maps(**(drawn | {"maps": maps}))
    heat = figure.axes[0].images[1]
    assert heat.get_array()[0, :2].tolist() == pytest.approx([2, 0])  # doublings of an equal share
    assert (heat.norm.vmin, heat.norm.vmax) == pytest.approx((-2, 2))


# --- figures ----------------------------------------------------------------------------------------------


def test_every_figure_is_drawn_of_several_clips_and_of_one(tmp_path):
    looked = looked_at_plants(tmp_path)
    for shown in (looked, looked.rows(np.array([1]))):
        n_clips = len(shown.clips)
        for way in attention.READS:
            figure = plots.attention_maps(**shown.overlay(way))
            n_frames = 6 if attention.READS[way] == "video" else 2
            assert len([axes for axes in figure.axes if len(axes.images) == 2]) == n_clips * n_frames
            figure.canvas.draw()
        bars = plots.attention_over_time({"a": shown.over_time("usta_video")}, shown.names)
        heights = [patch.get_height() for patch in bars.axes[-1].patches]
        assert heights == pytest.approx(100 * shown.over_time("usta_video")[0][-1])


def test_the_true_class_alone_is_marked():
    rows = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    figure = plots.class_probabilities(rows, ["a", "b", "c"], [1, -1], ["first", "second"])
    colors = [[patch.get_facecolor() for patch in axes.patches] for axes in figure.axes]
    assert colors[0][0] == colors[0][1] != colors[0][2]
    assert set(colors[1]) == {colors[0][0]}  # of an unknown class nothing is marked
    assert [patch.get_width() for patch in figure.axes[0].patches] == pytest.approx([20, 30, 50])
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["equal shares", "class", "true class"]
    (legend,) = plots.class_probabilities(rows[1:], ["a", "b", "c"], [-1], ["second"]).legends
    assert [text.get_text() for text in legend.get_texts()] == named[:2]
