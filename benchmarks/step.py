"""Training step of the full-size network of the recipe ``released``: ``python benchmarks/step.py``.

Our step, in float32 and in the precision that ``auto`` chooses, against a plain one of the same arithmetic
in float32: attention as two products and a softmax, W_k and W_v of CSTA applied to every token, an optimiser
that goes through the parameters one by one. The steps are taken in turn, and ratios pair by pair, so that a
machine whose speed drifts does not decide them. Each step is also measured against the rate of the network's
own largest product in its precision, and a profile tells where the rest of the time goes. One CPU thread, as
a trial has; on a GPU times are those of CUDA events. ``--sizes`` instead compares the precisions from small
networks to large ones.
"""

import statistics
import time
from multiprocessing import get_context
from unittest.mock import patch

import measure
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from hsta_lib.config import Frames, Settings, as_released, with_fields
from hsta_lib.models import fast, hsta
from hsta_lib.training.batches import normalise
from hsta_lib.training.cost import parameters_and_flops
from hsta_lib.training.fit import train_step
from hsta_lib.training.precision import with_precision
from hsta_lib.training.recipe import optimizer_of

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH, CLASSES = 8, 7
PAIRS = 20 if DEVICE.type == "cuda" else 5
PASSES = 3  # the backward pass costs two forward ones
PRODUCT = (4712, 768, 3072)  # tokens of the batch, widths: first linear of the video branch's feed-forward
ATTENTION = {"video": (12, 589, 64), "special": (12, 325, 32)}  # heads, tokens, width of a head
SIZES = ((16, 8, 8), (32, 8, 64), (32, 8, 128), (32, 8, 192), (64, 8, 128), (64, 8, 256), (112, 16, 384))


class PlainSelfAttention(hsta.SelfAttention):
    """Attention of all tokens, as two products and a softmax."""

    def forward(self, tokens):
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = functional.linear(tokens, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (three h e) -> three b h n e", three=3, h=self.heads)
        return self.projection(rearrange(plain_attention(q, k, v), "b h n e -> b n (h e)"))


class PlainCrossAttention(hsta.CrossAttention):
    """CSTA as printed: keys and values of all tokens."""

    def forward(self, cls, features):
        cls = self.mlp1(cls)
        own = self.norm(cls)
        x = torch.cat([own, self.norm(features)], dim=1)
        heads = len(self.rows)
        q, k, v = (
            rearrange(way, "b n (h e) -> b h n e", h=heads)
            for way in (self.query(own), self.key(x), self.value(x))
        )
        read = rearrange(plain_attention(q, k, v), "b h n e -> b n (h e)")
        return self.mlp2(cls + self.projection(read))


def plain_attention(q, k, v):
    return ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v


def plain_network(settings):
    with (
        patch.object(hsta, "SelfAttention", PlainSelfAttention),
        patch.object(hsta, "CrossAttention", PlainCrossAttention),
    ):
        return hsta.HSTA.from_settings(settings, CLASSES)


def plain_step(model, optimizer, inputs, labels):
    loss = functional.cross_entropy(model(*inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def released(precision):
    return with_precision(as_released(Settings()), precision)


def steps_of(kind):
    """Function that takes one step, from uint8 frames on: ``plain``, or a precision."""
    torch.manual_seed(0)
    settings = released("float32" if kind == "plain" else kind)
    frames = torch.randint(0, 256, (BATCH, 8, 224, 224, 3), dtype=torch.uint8, device=DEVICE)
    labels = (torch.arange(BATCH) % CLASSES).to(DEVICE)
    training = settings.training
    if kind == "plain":
        model = plain_network(settings).to(DEVICE)
        rates = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
        optimizer = torch.optim.AdamW(model.parameters(), **rates, foreach=False, fused=False)
    else:
        model = hsta.HSTA.from_settings(settings, CLASSES).to(DEVICE)
        optimizer = optimizer_of(model, training)

    def step():
        clips = rearrange(normalise(frames, training.pixels), "b t h w c -> b c t h w")
        inputs = model.cut(clips[:, :, :-2], clips[:, :, -2:])
        if kind == "plain":
            plain_step(model, optimizer, inputs, labels)
        else:
            train_step(model, optimizer, inputs, labels, training)

    return step


def seconds(function):
    """Time of one call, on the device."""
    if DEVICE.type == "cpu":
        started = time.perf_counter()
        function()
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    function()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1000


def median_seconds(function, n=5):
    function()
    return statistics.median(seconds(function) for _ in range(n))


def check_same_arithmetic():
    """The plain network computes what ours does; returns its FLOP for a clip."""
    settings = released("float32")
    ours, plain = hsta.HSTA.from_settings(settings, CLASSES).eval(), plain_network(settings).eval()
    plain.load_state_dict(ours.state_dict())
    clip = ours.cut(torch.randn(1, 3, 6, 224, 224), torch.randn(1, 3, 2, 224, 224))
    with torch.inference_mode():
        torch.testing.assert_close(ours(*clip), plain(*clip), rtol=1e-3, atol=1e-3)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        plain_network(settings)(*(torch.empty_like(branch) for branch in clip))
    return counter.get_total_flops()


def product_rate(dtype):
    """FLOP/s of the network's largest product."""
    n, d_in, d_out = PRODUCT
    tokens = torch.randn(n, d_in, dtype=dtype, device=DEVICE)
    weight = torch.randn(d_out, d_in, dtype=dtype, device=DEVICE)
    return 2 * n * d_in * d_out / median_seconds(lambda: functional.linear(tokens, weight), 20)


def peak_memory(kind):
    """Bytes: of a process of its own that takes two steps; on a GPU what the steps allocate there."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (kind,))


def _peak_memory(kind):
    torch.set_num_threads(1)
    step = steps_of(kind)
    for _ in range(2):
        step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return measure.most_resident()


def compare_steps(kinds, flops):
    """Take steps in turn; samples per second, ratios, rates and memory, for `measure.finish`."""
    steps = {kind: steps_of(kind) for kind in kinds}
    for step in steps.values():  # not counted: the optimiser's state is made, kernels are compiled
        step()
    taken = {kind: [] for kind in kinds}
    for _ in range(PAIRS):
        for kind, step in steps.items():
            taken[kind].append(seconds(step))
    rows = []
    for kind, times in taken.items():
        dtype = torch.bfloat16 if "bfloat16" in kind else torch.float32
        peak = product_rate(dtype)
        rates = [PASSES * flops * BATCH / one for one in times]
        plain = [plain / ours for plain, ours in zip(taken["plain"], times, strict=True)]
        rows += [measure.row(f"{kind} step, as fast as the plain one", plain)] * (kind != "plain")
        rows += [
            measure.row(f"{kind} step", [BATCH / one for one in times], "clips/s"),
            measure.row(f"{kind} step, arithmetic", [rate / 1e9 for rate in rates], "GFLOP/s"),
            measure.row(f"{kind} step, rate over the largest product's", [rate / peak for rate in rates]),
            measure.row(f"{kind} step, peak memory", [peak_memory(kind) / 1e6], "MB"),
        ]
    return steps, rows


def profile(kind, step):
    """Where one step's time goes, by operator."""
    on_gpu = DEVICE.type == "cuda"
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CPU, *[activity.CUDA] * on_gpu]) as record:
        step()
    spent = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in record.key_averages()
    }
    total = sum(spent.values())
    print(f"profile of a step, {kind}:")
    for name in sorted(spent, key=spent.get, reverse=True)[:12]:
        print(f"{spent[name] / total:7.1%}  {name}")


def compare_parts():
    """What `hsta_lib.models.fast` chooses between: times of a forward and backward pass, in ms."""
    for dtype in (torch.float32, torch.bfloat16):
        for branch, (heads, n, width) in ATTENTION.items():
            shape = BATCH, heads, n, width
            qkv = [torch.randn(shape, dtype=dtype, device=DEVICE, requires_grad=True) for _ in range(3)]
            ways = {"fused": functional.scaled_dot_product_attention, "apart": plain_attention}
            print_times(f"attention, {branch}, {dtype}", ways, *qkv)
        hidden = torch.randn(PRODUCT[0], PRODUCT[2], dtype=dtype, device=DEVICE, requires_grad=True)
        print_times(f"dropout, {dtype}", {"PyTorch's": nn.Dropout(0.2), "ours": fast.Dropout(0.2)}, hidden)


def print_times(what, ways, *inputs):
    times = {name: 1000 * median_seconds(lambda way=way: way(*inputs).sum().backward())
             for name, way in ways.items()}  # fmt: skip
    print(f"{what}: " + ", ".join(f"{name} {value:.1f} ms" for name, value in times.items()), flush=True)


def compare_sizes():
    """Time of a float32 step over that of a bfloat16 step, from small networks to large ones."""
    for recipe, make in (("equations", lambda settings: settings), ("released", as_released)):
        for image_size, patch_size, d in SIZES:
            settings = make(with_fields(Settings(), image_size=image_size, patch_size=patch_size, d=d))
            ratio, low, high = precision_ratio(settings)
            flops = parameters_and_flops(settings, CLASSES)[1]
            print(f"{recipe}, {image_size} px, d = {d}: {flops / 1e6:.1f} MFLOP a clip, float32 takes "
                  f"{ratio:.2f} times as long as bfloat16 ({low:.2f} to {high:.2f})", flush=True)  # fmt: skip


def precision_ratio(settings, pairs=7, batch=32):
    """Median, least and largest ratio of a float32 step's time to a bfloat16 step's."""
    size = settings.frames.image_size
    clips = [torch.randn(batch, 3, n, size, size, device=DEVICE) for n in (Frames().n_frames, 2)]
    labels = (torch.arange(batch) % CLASSES).to(DEVICE)
    model = hsta.HSTA.from_settings(settings, CLASSES).to(DEVICE)
    inputs = model.cut(*clips)
    optimizer = optimizer_of(model, settings.training)

    def step(precision):
        train_step(model, optimizer, inputs, labels, with_fields(settings, precision=precision).training)

    ways = ("float32", "bfloat16")
    for way in ways:
        step(way)
    pairs = [[seconds(lambda way=way: step(way)) for way in ways] for _ in range(pairs)]
    ratios = [wide / narrow for wide, narrow in pairs]
    return statistics.median(ratios), min(ratios), max(ratios)


def main():
    parser = measure.parser(__doc__)
    parser.add_argument("--sizes", action="store_true", help="compare precisions over sizes instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.sizes:
        if options.record:
            parser.error("--record: what --sizes prints is not kept")
        compare_sizes()
        return
    flops = check_same_arithmetic()
    chosen = released("auto").training.precision
    own = parameters_and_flops(released("float32"), CLASSES)[1]
    print(f"{flops / 1e9:.2f} GFLOP a clip, ours {own / 1e9:.2f}; auto is {chosen}; batch of {BATCH}")
    kinds = ["plain", *dict.fromkeys(["float32", chosen])]
    steps, rows = compare_steps(kinds, flops)
    measure.finish(__file__, rows, options.record)
    profile(chosen, steps[chosen])
    compare_parts()


if __name__ == "__main__":
    main()
