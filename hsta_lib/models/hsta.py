"""HSTA, the whole model in one file: tubelet embedding, USTA, CSTA, hierarchy, head (paper, Eqs. 1-16).

Two branches see the same clip: ``video`` (uniformly sampled frames) and ``special`` (onset and apex).
Each is a sequence of a CLS token and tubelet tokens. Within a branch, `USTA` layers attend over space and
time; `CSTA` lets the branches meet, through their CLS tokens alone. One `HSTA` module is L_v + L_s USTA
layers and one CSTA; the network stacks M of them.

The defaults of `hsta_lib.config.Model` are the paper's equations. What the authors' code
(``_model_hsta.py``) does otherwise is in its other fields, each switched alone.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from hsta_lib.config import Model
from hsta_lib.models.fast import Dropout, attend, attention_in_heads, is_plain


class Branch(NamedTuple):
    """One of the two branches: its frames, how they are cut into tokens, its width and its depth."""

    n_frames: int
    tubelet_size: int  # frames
    patch_size: int  # px
    d: int
    layers: int  # L_v or L_s: USTA layers in every module


def branches(settings, n_frames):
    """The video and the special branch of a network; the latter has onset and apex."""
    video = Branch(n_frames, settings.tubelet_size, settings.patch_size, settings.d, settings.l_v)
    # Onset and apex are one tubelet deep, unless tubelets are single frames.
    special = Branch(
        n_frames=2,
        tubelet_size=min(2, settings.tubelet_size),
        patch_size=settings.patch_size_special or settings.patch_size,
        d=settings.d_special or settings.d,
        layers=settings.l_s,
    )
    return video, special


EQUATIONS = Model()


def sincos_positions(n, d):
    """Fixed sine-cosine table over a sequence (Vaswani et al. 2017), CLS at position 0, float32 ``(n, d)``.

    Channel ``2i`` holds ``sin(p / 10000^(2i/d))``, channel ``2i+1`` the cosine.
    """
    channel = torch.arange(d, dtype=torch.float64)
    rate = 10000.0 ** (-2 * torch.div(channel, 2, rounding_mode="floor") / d)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()


class StochasticDepth(nn.Module):
    """Leave a residual branch out for some clips of a training batch; the others are scaled up to match."""

    def __init__(self, rate):
        super().__init__()
        self.keep = 1 - rate

    def forward(self, branch):
        """``(b, n, d)`` in and out."""
        if not self.training or self.keep == 1:
            return branch
        return branch * branch.new_empty(len(branch), 1, 1).bernoulli_(self.keep) / self.keep


def stochastic_depth_rates(rate, *, m, l_v, l_s):
    """Rates of each module's video and special USTA layers, dealt out as the authors' code does.

    Of M * L_v rates, rising from 0 to ``rate``, each module cuts off max(L_v, L_s); layer i of either branch
    takes entry i. Where they have run out (special branch first), the rest of the module has rate 0.
    """
    rates = [rate * i / max(m * l_v - 1, 1) for i in range(m * l_v)]
    longest = max(l_v, l_s)
    modules = []
    for i in range(m):
        dealt = rates[i * longest : (i + 1) * longest]
        special = (dealt + [0.0] * longest)[:l_s]
        video = [0.0] * l_v if len(dealt) < l_s else (dealt + [0.0] * longest)[:l_v]
        modules.append((video, special))
    return modules


class TubeletEmbedding(nn.Module):
    """Embed every tubelet of a branch, put CLS in front, add positions (Eq. 1).

    Without positions the network cannot tell place or time (Eqs. 1-16 name none). Frames must be divisible by
    the tubelet, and the image, square, by the patch; or, with ``border = "crop"``, its last rows and columns
    are never read, as in the authors' special branch (224 px in patches of 12).
    """

    def __init__(self, branch, image_size, settings):
        super().__init__()
        n_frames, tubelet_size, patch_size, d, _ = branch
        if n_frames % tubelet_size:
            raise ValueError(
                f"{n_frames} frames cannot be cut into tubelets of {tubelet_size}; "
                f"choose n_frames as a multiple of tubelet_size"
            )
        if (image_size % patch_size and settings.border == "refuse") or image_size < patch_size:
            raise ValueError(
                f"image_size = {image_size} px is not divisible by patch_size = {patch_size} px; "
                f"{image_size % patch_size} rows and columns would never be read (border = 'crop' permits it)"
            )
        tubelet = (tubelet_size, patch_size, patch_size)
        self.n_tokens = (n_frames // tubelet_size) * (image_size // patch_size) ** 2
        self.project = nn.Conv3d(3, d, kernel_size=tubelet, stride=tubelet)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        table = sincos_positions(1 + self.n_tokens, d) if settings.positions == "sincos" else None
        self.register_buffer("positions", table, persistent=False)
        self.dropout = Dropout(settings.dropout)

    def cut(self, pixels):
        """Pixels ``(b, 3, t, h, w)`` to tubelets ``(b, n, 3 dt p p)``, row-major in (time, height, width)."""
        dt, p, _ = self.project.kernel_size
        side = pixels.shape[-1] // p * p
        return rearrange(
            pixels[..., :side, :side], "b c (t dt) (h ph) (w pw) -> b (t h w) (c dt ph pw)",
            dt=dt, ph=p, pw=p,
        )  # fmt: skip

    def forward(self, tubelets):
        """Tubelets ``(b, n, 3 dt p p)`` to tokens ``(b, 1 + n, d)``, in the same order."""
        tokens = functional.linear(tubelets, self.project.weight.flatten(1), self.project.bias)
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.dropout(tokens if self.positions is None else tokens + self.positions)


class SelfAttention(nn.Module):
    """Every token of a branch attends to every other, with scale 1/sqrt(head width) (Eqs. 2-3)."""

    def __init__(self, d, settings):
        super().__init__()
        self.heads = settings.heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(d)) if settings.attention_bias else None
        self.v_bias = nn.Parameter(torch.zeros(d)) if settings.attention_bias else None
        self.projection = projection(d, settings)

    def forward(self, tokens):
        """Tokens ``(b, n, d)`` in, the same shape out."""
        if self.heads == 1 and self.q_bias is None and is_plain(tokens):
            # With one head, (W_q z).(W_k y) = (W_k^T W_q z).y, and the weighted sum of W_v y is W_v of the
            # weighted sum: W_k and W_v need not be applied to every token.
            w_q, w_k, w_v = self.qkv.weight.chunk(3)
            queries = functional.linear(tokens, w_k.T @ w_q * len(w_q) ** -0.5)
            return self.projection(functional.linear(attend(queries, tokens), w_v))
        bias = None
        if self.q_bias is not None:  # a bias on the keys would change nothing: softmax does not see it
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = functional.linear(tokens, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (three h e) -> three b h n e", three=3, h=self.heads)
        return self.projection(rearrange(attention_in_heads(q, k, v), "b h n e -> b n (h e)"))


def projection(d, settings):
    """What follows an attention: nothing, as in the equations, or a Linear and dropout."""
    return nn.Sequential(nn.Linear(d, d), Dropout(settings.dropout)) if settings.projection else nn.Identity()


class USTALayer(nn.Module):
    """One layer of unimodal space-time attention: ``LayerNorm(z + attention(z))`` (Eqs. 2-4).

    As the equations: one head, no bias in q, k, v, no feed-forward network. `hsta_lib.config.Model` has what
    differs in the released code; ``drop_path`` is the rate of `StochasticDepth`.
    """

    def __init__(self, d, settings=EQUATIONS, drop_path=0.0):
        super().__init__()
        self.pre_norm = settings.pre_norm
        self.attention = SelfAttention(d, settings)
        self.norm = nn.LayerNorm(d, eps=settings.eps)
        self.feed_forward = feed_forward(d, settings) if settings.feed_forward else None
        self.norm2 = nn.LayerNorm(d, eps=settings.eps) if settings.feed_forward else None
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, tokens):
        """Tokens ``(b, 1 + n, d)`` of one branch, every token attending to every token of its clip."""
        tokens = self._residual(tokens, self.attention, self.norm)
        return tokens if self.feed_forward is None else self._residual(tokens, self.feed_forward, self.norm2)

    def _residual(self, tokens, branch, norm):
        if self.pre_norm:
            return tokens + self.drop_path(branch(norm(tokens)))
        return norm(tokens + self.drop_path(branch(tokens)))


def feed_forward(d, settings):
    """Two linears with GELU between, each followed by dropout."""
    first, second = nn.Linear(d, settings.feed_forward * d), nn.Linear(settings.feed_forward * d, d)
    return nn.Sequential(first, nn.GELU(), Dropout(settings.dropout), second, Dropout(settings.dropout))


def projection_mlp(d_in, d_out, settings):
    """MLP1 or MLP2 of Eqs. 8 and 11, from one width to another."""
    if settings.mlp == "linear":
        return nn.Linear(d_in, d_out)
    return nn.Sequential(nn.LayerNorm(d_in, eps=settings.eps), nn.GELU(), nn.Linear(d_in, d_out))


class CrossAttention(nn.Module):
    """One direction of CSTA: a branch's CLS token reads the other branch's features (Eqs. 8-12).

    ``d`` is the width of this branch, ``d_other`` that of the other, in which the attention takes place.
    """

    def __init__(self, d, d_other, settings=EQUATIONS):
        super().__init__()
        width = d_other // settings.heads
        self.scale = width**-0.5
        rows = torch.eye(settings.heads).repeat_interleave(width, dim=1)
        self.register_buffer("rows", rows, persistent=False)
        self.mlp1 = projection_mlp(d, d_other, settings)
        self.norm = nn.LayerNorm(d_other, eps=settings.eps) if settings.pre_norm else nn.Identity()
        self.query = nn.Linear(d_other, d_other, bias=settings.attention_bias)
        self.key = nn.Linear(d_other, d_other, bias=settings.attention_bias)
        self.value = nn.Linear(d_other, d_other, bias=settings.attention_bias)
        self.projection = projection(d_other, settings)
        self.mlp2 = projection_mlp(d_other, d, settings)

    def forward(self, cls, features):
        """New CLS token ``(b, 1, d)`` from this branch's own and the other's ``features (b, n, d_other)``."""
        cls = self.mlp1(cls)
        own = self.norm(cls)
        x = torch.cat([own, self.norm(features)], dim=1)
        # There is one query, so W_k and W_v need not be applied to every token: q.(W_k x) = (W_k^T q).x, and
        # the weighted sum of W_v x is W_v of the weighted sum. Each head has its own rows of q and W_v. A
        # bias on the keys adds the same to every score, which softmax does not see.
        query = (self.query(own) * self.rows) @ self.key.weight
        read = attend(query * self.scale, x)
        read = (self.value(read) * self.rows).sum(dim=1, keepdim=True)
        return self.mlp2(cls + self.projection(read))


class CSTA(nn.Module):
    """Crossmodal space-time attention, both directions; tubelet tokens pass through untouched (Eq. 13)."""

    def __init__(self, d_video, d_special, settings=EQUATIONS):
        super().__init__()
        self.video = CrossAttention(d_video, d_special, settings)
        self.special = CrossAttention(d_special, d_video, settings)

    def forward(self, video, special):
        """Tokens ``(b, 1 + n, d)`` of both branches in, the same shapes out.

        Both directions read the features as they left USTA, so their order does not matter.
        """
        cls_v, features_v = video.split([1, video.shape[1] - 1], dim=1)
        cls_s, features_s = special.split([1, special.shape[1] - 1], dim=1)
        new_v, new_s = self.video(cls_v, features_s), self.special(cls_s, features_v)
        return torch.cat([new_v, features_v], dim=1), torch.cat([new_s, features_s], dim=1)


class HSTAModule(nn.Module):
    """One level of the hierarchy: L_v and L_s USTA layers, then one CSTA (Eqs. 14-15).

    ``rates``: of stochastic depth, one for each USTA layer of the video branch, and of the special one.
    """

    def __init__(self, video, special, rates, settings):
        super().__init__()
        # Eq. 6 read literally makes a one-layer cascade the identity; read as a misprint, as Eq. 5 and
        # Table 1 require: L layers are L layers.
        self.usta_video, self.usta_special = (
            nn.Sequential(*(USTALayer(branch.d, settings, rate) for rate in of_branch))
            for branch, of_branch in zip((video, special), rates, strict=True)
        )
        self.csta = CSTA(video.d, special.d, settings) if settings.csta else None

    def forward(self, video, special):
        """Tokens ``(b, 1 + n, d)`` of both branches in, the same shapes out."""
        video, special = self.usta_video(video), self.usta_special(special)
        return (video, special) if self.csta is None else self.csta(video, special)


class HSTA(nn.Module):
    """The network of Eqs. 1-16: two embeddings, M modules, one linear head on both CLS tokens.

    Parameters
    ----------
    settings : hsta_lib.config.Model
        ``l_v`` and ``l_s`` may be 0 (Tables 1 and 2): that branch's CLS token then reads nothing of its own
        frames. Without ``csta`` the branches meet only in the head (Table 2).
    n_frames, image_size : int
        Of the video branch; the special branch has the onset and the apex frame at the same size.

    Raises
    ------
    ValueError
        If the image is not divisible by the patch, the frames not by the tubelet, or a width not by the
        heads; or if a head that adds the CLS tokens is given two widths.
    """

    def __init__(self, settings, *, n_frames, image_size, n_classes):
        super().__init__()
        video, special = branches(settings, n_frames)
        for name, branch in (("d", video), ("d_special", special)):
            if branch.d % settings.heads:
                raise ValueError(f"{name} = {branch.d} is not divisible by heads = {settings.heads}")
        self.embed_video = TubeletEmbedding(video, image_size, settings)
        self.embed_special = TubeletEmbedding(special, image_size, settings)
        rates = stochastic_depth_rates(settings.drop_path, m=settings.m, l_v=settings.l_v, l_s=settings.l_s)
        self.blocks = nn.ModuleList(HSTAModule(video, special, of_module, settings) for of_module in rates)
        self._build_head(video.d, special.d, settings, n_classes)
        self._initialise(settings.init)

    def _build_head(self, d_video, d_special, settings, n_classes):
        # One LayerNorm over both CLS tokens, or one for each.
        of_both, of_each = settings.head == "ln_linear", settings.head == "branch_ln_linear"
        self.norm = nn.LayerNorm(d_video + d_special, eps=settings.eps) if of_both else None
        self.norm_video, self.norm_special = (
            nn.LayerNorm(d, eps=settings.eps) if of_each else nn.Identity() for d in (d_video, d_special)
        )
        self.adds_branches = settings.head == "sum_linear"
        if self.adds_branches and d_video != d_special:
            raise ValueError(
                f"head = {settings.head!r} adds the CLS tokens: d = {d_video} and d_special = {d_special} "
                "differ"
            )
        self.head = nn.Linear(d_video if self.adds_branches else d_video + d_special, n_classes)

    @classmethod
    def from_settings(cls, settings, n_classes):
        """The network of `hsta_lib.config.Settings`, its weights drawn from torch's global generator."""
        frames = settings.frames
        return cls(
            settings.model, n_frames=frames.n_frames, image_size=frames.image_size, n_classes=n_classes
        )

    def _initialise(self, init):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if init == "xavier":
                    nn.init.xavier_uniform_(module.weight)
                else:
                    nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for embed in (self.embed_video, self.embed_special):
            nn.init.trunc_normal_(embed.cls, std=0.02)

    def cut(self, video, special):
        """Tubelets of both branches, ``(b, n_tokens, 3 * tubelet_size * patch_size ** 2)``, for `forward`.

        Of float pixels ``(b, 3, n_frames, image_size, image_size)``; those of onset and apex are two frames.
        """
        return self.embed_video.cut(video), self.embed_special.cut(special)

    def forward(self, video, special):
        """Class scores (logits) ``(b, n_classes)`` of tubelets from `cut`, which each clip needs but once."""
        video, special = self.embed_video(video), self.embed_special(special)
        for block in self.blocks:
            video, special = block(video, special)
        cls = [self.norm_video(video[:, 0]), self.norm_special(special[:, 0])]
        if self.adds_branches:
            return self.head(cls[0] + cls[1])
        cls = torch.cat(cls, dim=-1)
        return self.head(cls if self.norm is None else self.norm(cls))
