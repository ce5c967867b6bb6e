"""HSTA, the whole model in one file: tubelet embedding, USTA, CSTA, hierarchy, head (paper, Eqs. 1-16).

Two branches see the same clip: ``video`` (uniformly sampled frames) and ``special`` (onset and apex).
Each is a sequence of a CLS token and tubelet tokens. Within a branch, `USTA` layers attend over space and
time; `CSTA` lets the branches meet, through their CLS tokens alone. One `HSTA` module is L_v + L_s USTA
layers and one CSTA; the network stacks M of them.

The defaults are the paper's equations. What the authors' code (``_model_hsta.py``) does otherwise is in
`Style` and in the sizes of the branches, each switched alone.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention


class Style(NamedTuple):
    """How layers are built; the defaults are Eqs. 2-4 and 8-12."""

    heads: int = 1
    pre_norm: bool = False  # LayerNorm before the attention (and in CSTA too), not after the sum
    feed_forward: int = 0  # hidden width of a GELU network after the attention, in widths; 0: none
    attention_bias: bool = False  # on q and v (in CSTA on q, k and v)
    projection: bool = False  # a Linear after the attention
    dropout: float = 0.0  # after positions, projection and both linears of the feed-forward network
    eps: float = 1e-5  # of every LayerNorm


EQUATIONS = Style()


def sincos_positions(n, d):
    """Fixed sine-cosine table over a sequence (Vaswani et al. 2017), CLS at position 0 included.

    Parameters
    ----------
    n, d : int
        Positions and width; channel ``2i`` holds ``sin(p / 10000^(2i/d))``, channel ``2i+1`` the cosine.

    Returns
    -------
    Tensor, float32, shape (n, d)
    """
    channel = torch.arange(d, dtype=torch.float64)
    rate = 10000.0 ** (-2 * torch.div(channel, 2, rounding_mode="floor") / d)
    angle = torch.arange(n, dtype=torch.float64)[:, None] * rate
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()


def attention(queries, keys, values, scale):
    """Attention without heads: ``(b, m, d)`` queries over ``(b, n, d)`` keys and values."""
    heads = (rearrange(x, "b n d -> b 1 n d") for x in (queries, keys, values))
    return rearrange(scaled_dot_product_attention(*heads, scale=scale), "b 1 n d -> b n d")


def attention_in_heads(queries, keys, values):
    """Attention of ``(b, heads, n, e)`` queries, keys and values, with scale 1/sqrt(e)."""
    if queries.dtype != torch.bfloat16 or queries.device.type != "cpu":
        return scaled_dot_product_attention(queries, keys, values)
    # torch's fused kernel for CPUs is faster in float32 than products and softmax apart, but in bfloat16
    # slower, see benchmarks/step.py.
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    return scores.softmax(dim=-1) @ values


class Dropout(nn.Dropout):
    """Dropout; on a CPU in bfloat16 with 16 random bits per number, to which its rate is rounded.

    The random numbers of PyTorch's own take a ninth of a step there, see benchmarks/step.py.
    """

    def forward(self, values):
        """Any shape in and out."""
        is_slow = values.dtype == torch.bfloat16 and values.device.type == "cpu"
        if not (self.training and self.p and is_slow) or torch.compiler.is_compiling():
            return super().forward(values)
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = bits >= round(self.p * 2**16) - 2**15
        return values * (kept.to(values.dtype) / (1 - self.p))


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
    """Rate of every USTA layer, dealt out as the authors' code does.

    One list of M * L_v rates rises from 0 to ``rate``; module by module a slice of length max(L_v, L_s) is
    cut off it, and layer i of either branch takes entry i. Where the slice has run out (special branch
    first), the rest of the module has rate 0.

    Returns
    -------
    list of tuple
        Per module, the rates of its video and of its special layers.
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
    """Cut a branch's frames into tubelets, embed each, put CLS in front, add positions (Eq. 1).

    Parameters
    ----------
    n_frames, tubelet_size : int
        Frames of the branch, frames per tubelet.
    image_size, patch_size : int
        px, square.
    d : int
        Token width.
    positions : {"none", "sincos"}
        Without positions the network cannot tell place or time (Eqs. 1-16 name none).
    border : {"refuse", "crop"}
        What becomes of an image the patch does not divide: an error, or the last rows and columns are
        never read (as in the authors' special branch, 224 px in patches of 12).
    dropout : float
    """

    def __init__(
        self, *, n_frames, tubelet_size, image_size, patch_size, d, positions, border="refuse", dropout=0.0
    ):
        super().__init__()
        if n_frames % tubelet_size:
            raise ValueError(
                f"{n_frames} frames cannot be cut into tubelets of {tubelet_size}; "
                f"choose n_frames as a multiple of tubelet_size"
            )
        if (image_size % patch_size and border == "refuse") or image_size < patch_size:
            raise ValueError(
                f"image_size = {image_size} px is not divisible by patch_size = {patch_size} px; "
                f"{image_size % patch_size} rows and columns would never be read (border = 'crop' permits it)"
            )
        tubelet = (tubelet_size, patch_size, patch_size)
        self.n_tokens = (n_frames // tubelet_size) * (image_size // patch_size) ** 2
        self.project = nn.Conv3d(3, d, kernel_size=tubelet, stride=tubelet)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        table = sincos_positions(1 + self.n_tokens, d) if positions == "sincos" else None
        self.register_buffer("positions", table, persistent=False)
        self.dropout = Dropout(dropout)

    def forward(self, pixels):
        """Pixels ``(b, 3, t, h, w)`` to tokens ``(b, 1 + n, d)``, row-major in (time, height, width)."""
        tokens = rearrange(self.project(pixels), "b d t h w -> b (t h w) d")
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.dropout(tokens if self.positions is None else tokens + self.positions)


class SelfAttention(nn.Module):
    """Every token of a branch attends to every other, with scale 1/sqrt(head width) (Eqs. 2-3)."""

    def __init__(self, d, style):
        super().__init__()
        self.heads = style.heads
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(d)) if style.attention_bias else None
        self.v_bias = nn.Parameter(torch.zeros(d)) if style.attention_bias else None
        self.projection = projection(d, style)

    def forward(self, tokens):
        """Tokens ``(b, n, d)`` in, the same shape out."""
        bias = None
        if self.q_bias is not None:  # a bias on the keys would change nothing: softmax does not see it
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = functional.linear(tokens, self.qkv.weight, bias)
        q, k, v = rearrange(qkv, "b n (three h e) -> three b h n e", three=3, h=self.heads)
        return self.projection(rearrange(attention_in_heads(q, k, v), "b h n e -> b n (h e)"))


def projection(d, style):
    """What follows an attention: nothing, as in the equations, or a Linear and dropout."""
    return nn.Sequential(nn.Linear(d, d), Dropout(style.dropout)) if style.projection else nn.Identity()


class USTALayer(nn.Module):
    """One layer of unimodal space-time attention: ``LayerNorm(z + attention(z))`` (Eqs. 2-4).

    As the equations: one head, no bias in q, k, v, no feed-forward network. `Style` has what differs in the
    released code; ``drop_path`` is the rate of `StochasticDepth`.
    """

    def __init__(self, d, style=EQUATIONS, drop_path=0.0):
        super().__init__()
        self.pre_norm = style.pre_norm
        self.attention = SelfAttention(d, style)
        self.norm = nn.LayerNorm(d, eps=style.eps)
        self.feed_forward = feed_forward(d, style) if style.feed_forward else None
        self.norm2 = nn.LayerNorm(d, eps=style.eps) if style.feed_forward else None
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, tokens):
        """Tokens ``(b, 1 + n, d)`` of one branch, every token attending to every token of its clip."""
        tokens = self._residual(tokens, self.attention, self.norm)
        return tokens if self.feed_forward is None else self._residual(tokens, self.feed_forward, self.norm2)

    def _residual(self, tokens, branch, norm):
        if self.pre_norm:
            return tokens + self.drop_path(branch(norm(tokens)))
        return norm(tokens + self.drop_path(branch(tokens)))


def feed_forward(d, style):
    """Two linears with GELU between, each followed by dropout."""
    first, second = nn.Linear(d, style.feed_forward * d), nn.Linear(style.feed_forward * d, d)
    return nn.Sequential(first, nn.GELU(), Dropout(style.dropout), second, Dropout(style.dropout))


def projection_mlp(d_in, d_out, kind, style):
    """MLP1 or MLP2 of Eqs. 8 and 12, from one width to another."""
    if kind == "linear":
        return nn.Linear(d_in, d_out)
    return nn.Sequential(nn.LayerNorm(d_in, eps=style.eps), nn.GELU(), nn.Linear(d_in, d_out))


class CrossAttention(nn.Module):
    """One direction of CSTA: a branch's CLS token reads the other branch's features (Eqs. 8-12).

    Parameters
    ----------
    d, d_other : int
        Width of this branch, and of the other, in which the attention takes place.
    mlp : {"ln_gelu_linear", "linear"}
    style : Style
    """

    def __init__(self, d, d_other, mlp, style=EQUATIONS):
        super().__init__()
        width = d_other // style.heads
        self.scale = width**-0.5
        self.register_buffer("rows", torch.eye(style.heads).repeat_interleave(width, dim=1), persistent=False)
        self.mlp1 = projection_mlp(d, d_other, mlp, style)
        self.norm = nn.LayerNorm(d_other, eps=style.eps) if style.pre_norm else nn.Identity()
        self.query = nn.Linear(d_other, d_other, bias=style.attention_bias)
        self.key = nn.Linear(d_other, d_other, bias=style.attention_bias)
        self.value = nn.Linear(d_other, d_other, bias=style.attention_bias)
        self.projection = projection(d_other, style)
        self.mlp2 = projection_mlp(d_other, d, mlp, style)

    def forward(self, cls, features):
        """New CLS token ``(b, 1, d)`` from this branch's own and the other's ``features (b, n, d_other)``."""
        cls = self.mlp1(cls)
        own = self.norm(cls)
        x = torch.cat([own, self.norm(features)], dim=1)
        # There is one query, so W_k and W_v need not be applied to every token: q.(W_k x) = (W_k^T q).x, and
        # the weighted sum of W_v x is W_v of the weighted sum. Each head has its own rows of q and W_v. A
        # bias on the keys adds the same to every score, which softmax does not see.
        query = (self.query(own) * self.rows) @ self.key.weight
        read = attention(query, x, x, scale=self.scale)
        read = (self.value(read) * self.rows).sum(dim=1, keepdim=True)
        return self.mlp2(cls + self.projection(read))


class CSTA(nn.Module):
    """Crossmodal space-time attention, both directions; tubelet tokens pass through untouched (Eq. 13)."""

    def __init__(self, d_video, d_special, mlp, style=EQUATIONS):
        super().__init__()
        self.video = CrossAttention(d_video, d_special, mlp, style)
        self.special = CrossAttention(d_special, d_video, mlp, style)

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

    Parameters
    ----------
    d_video, d_special : int
    rates_video, rates_special : sequence of float
        Rate of stochastic depth of every USTA layer; their lengths are L_v and L_s.
    csta : bool
    mlp : str
    style : Style
    """

    def __init__(self, *, d_video, d_special, rates_video, rates_special, csta, mlp, style):
        super().__init__()
        # Eq. 6 read literally makes a one-layer cascade the identity; read as a misprint, as Eq. 5 and
        # Table 1 require: L layers are L layers.
        self.usta_video = nn.Sequential(*(USTALayer(d_video, style, rate) for rate in rates_video))
        self.usta_special = nn.Sequential(*(USTALayer(d_special, style, rate) for rate in rates_special))
        self.csta = CSTA(d_video, d_special, mlp, style) if csta else None

    def forward(self, video, special):
        """Tokens ``(b, 1 + n, d)`` of both branches in, the same shapes out."""
        video, special = self.usta_video(video), self.usta_special(special)
        return (video, special) if self.csta is None else self.csta(video, special)


class HSTA(nn.Module):
    """The network of Eqs. 1-16: two embeddings, M modules, one linear head on both CLS tokens.

    Parameters
    ----------
    n_classes : int
    n_frames, image_size : int
        Of the video branch; the special branch has the onset and the apex frame at the same size.
    m, l_v, l_s : int
        Modules (M), USTA layers per module in the video and the special branch. ``l_v`` and ``l_s``
        may be 0 (Tables 1 and 2): that branch's CLS token then reads nothing of its own frames.
    csta : bool
        False leaves the branches unconnected until the head (Table 2).
    d, patch_size, tubelet_size, positions, mlp, head, init
        See `hsta_lib.config.Model`.
    d_special, patch_size_special : int
        Of the special branch; 0: as the video branch.
    border : {"refuse", "crop"}
        See `TubeletEmbedding`.
    drop_path : float
        Highest rate of stochastic depth, see `stochastic_depth_rates`.
    **style
        Fields of `Style`.

    Raises
    ------
    ValueError
        If the image is not divisible by the patch, the frames not by the tubelet, a width not by the heads,
        or ``m < 1``.
    """

    def __init__(
        self, *, n_classes, n_frames, image_size, m, l_v, l_s, csta, d, patch_size, tubelet_size,
        positions, mlp, head, init, d_special=0, patch_size_special=0, border="refuse", drop_path=0.0,
        **style,
    ):  # fmt: skip
        super().__init__()
        if m < 1 or min(l_v, l_s) < 0:
            raise ValueError(f"need m >= 1, l_v >= 0 and l_s >= 0, got m = {m}, l_v = {l_v}, l_s = {l_s}")
        style, d_special = Style(**style), d_special or d
        for name, width in (("d", d), ("d_special", d_special)):
            if width % style.heads:
                raise ValueError(f"{name} = {width} is not divisible by heads = {style.heads}")
        branch = {
            "image_size": image_size, "positions": positions, "border": border, "dropout": style.dropout,
        }  # fmt: skip
        self.embed_video = TubeletEmbedding(
            n_frames=n_frames, tubelet_size=tubelet_size, patch_size=patch_size, d=d, **branch
        )
        # Onset and apex are one tubelet deep, unless tubelets are single frames.
        self.embed_special = TubeletEmbedding(
            n_frames=2, tubelet_size=min(2, tubelet_size), patch_size=patch_size_special or patch_size,
            d=d_special, **branch,
        )  # fmt: skip
        module = {"d_video": d, "d_special": d_special, "csta": csta, "mlp": mlp, "style": style}
        self.blocks = nn.ModuleList(
            HSTAModule(rates_video=video, rates_special=special, **module)
            for video, special in stochastic_depth_rates(drop_path, m=m, l_v=l_v, l_s=l_s)
        )
        # One LayerNorm over both CLS tokens, or one for each.
        self.norm = nn.LayerNorm(d + d_special, eps=style.eps) if head == "ln_linear" else None
        of_branches = head == "branch_ln_linear"
        self.norm_video = nn.LayerNorm(d, eps=style.eps) if of_branches else nn.Identity()
        self.norm_special = nn.LayerNorm(d_special, eps=style.eps) if of_branches else nn.Identity()
        if head == "sum_linear" and d != d_special:
            raise ValueError(
                f"head = {head!r} adds the CLS tokens: d = {d} and d_special = {d_special} differ"
            )
        self.adds_branches = head == "sum_linear"
        self.head = nn.Linear(d if self.adds_branches else d + d_special, n_classes)
        self._initialise(init)

    @classmethod
    def from_settings(cls, settings, n_classes):
        """The network of `hsta_lib.config.Settings`, its weights drawn from torch's global generator."""
        frames = settings.frames
        sizes = {"n_frames": frames.n_frames, "image_size": frames.image_size}
        return cls(n_classes=n_classes, **sizes, **settings.model.model_dump())

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

    def forward(self, video, special):
        """Class scores (logits) of a batch of clips.

        Parameters
        ----------
        video : Tensor, float, shape (b, 3, n_frames, image_size, image_size)
        special : Tensor, float, shape (b, 3, 2, image_size, image_size)
            Onset, apex.

        Returns
        -------
        Tensor, shape (b, n_classes)
        """
        video, special = self.embed_video(video), self.embed_special(special)
        for block in self.blocks:
            video, special = block(video, special)
        cls = [self.norm_video(video[:, 0]), self.norm_special(special[:, 0])]
        if self.adds_branches:
            return self.head(cls[0] + cls[1])
        cls = torch.cat(cls, dim=-1)
        return self.head(cls if self.norm is None else self.norm(cls))
