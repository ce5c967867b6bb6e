"""HSTA, the whole model in one file: tubelet embedding, USTA, CSTA, hierarchy, head (paper, Eqs. 1-16).

Two branches see the same clip: ``video`` (uniformly sampled frames) and ``special`` (onset and apex).
Each is a sequence of a CLS token and tubelet tokens. Within a branch, `USTA` layers attend over space and
time; `CSTA` lets the branches meet, through their CLS tokens alone. One `HSTA` module is L_v + L_s USTA
layers and one CSTA; the network stacks M of them.
"""

import torch
from einops import rearrange
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


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


def attention(queries, keys, values):
    """Single-head attention with scale 1/sqrt(d) (Eqs. 3 and 11); all ``(b, n, d)``."""
    heads = (rearrange(x, "b n d -> b 1 n d") for x in (queries, keys, values))
    return rearrange(scaled_dot_product_attention(*heads), "b 1 n d -> b n d")


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
    """

    def __init__(self, *, n_frames, tubelet_size, image_size, patch_size, d, positions):
        super().__init__()
        if n_frames % tubelet_size:
            raise ValueError(
                f"{n_frames} frames cannot be cut into tubelets of {tubelet_size}; "
                f"choose n_frames as a multiple of tubelet_size"
            )
        if image_size % patch_size:
            raise ValueError(
                f"image_size = {image_size} px is not divisible by patch_size = {patch_size} px; "
                f"{image_size % patch_size} rows and columns would never be read"
            )
        tubelet = (tubelet_size, patch_size, patch_size)
        self.n_tokens = (n_frames // tubelet_size) * (image_size // patch_size) ** 2
        self.project = nn.Conv3d(3, d, kernel_size=tubelet, stride=tubelet)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        table = sincos_positions(1 + self.n_tokens, d) if positions == "sincos" else None
        self.register_buffer("positions", table, persistent=False)

    def forward(self, pixels):
        """Pixels ``(b, 3, t, h, w)`` to tokens ``(b, 1 + n, d)``, row-major in (time, height, width)."""
        tokens = rearrange(self.project(pixels), "b d t h w -> b (t h w) d")
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens if self.positions is None else tokens + self.positions


class USTALayer(nn.Module):
    """One layer of unimodal space-time attention: ``LayerNorm(z + attention(z))`` (Eqs. 2-4).

    One head, no bias in q, k, v, no feed-forward network: as the equations, unlike the released code.
    """

    def __init__(self, d):
        super().__init__()
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.norm = nn.LayerNorm(d)

    def forward(self, tokens):
        """Tokens ``(b, 1 + n, d)`` of one branch, every token attending to every token of its clip."""
        return self.norm(tokens + attention(*self.qkv(tokens).chunk(3, dim=-1)))


def projection_mlp(d, kind):
    """MLP1 or MLP2 of Eqs. 8 and 12, ``d`` to ``d``."""
    if kind == "linear":
        return nn.Linear(d, d)
    return nn.Sequential(nn.LayerNorm(d), nn.GELU(), nn.Linear(d, d))


class CrossAttention(nn.Module):
    """One direction of CSTA: a branch's CLS token reads the other branch's features (Eqs. 8-12)."""

    def __init__(self, d, mlp):
        super().__init__()
        self.mlp1 = projection_mlp(d, mlp)
        self.query = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.mlp2 = projection_mlp(d, mlp)

    def forward(self, cls, features):
        """New CLS token ``(b, 1, d)`` from this branch's ``cls`` and the other's ``features (b, n, d)``."""
        cls = self.mlp1(cls)
        x = torch.cat([cls, features], dim=1)
        # There is one query, so W_k and W_v need not be applied to every token:
        # q.(W_k x) = (W_k^T q).x, and the weighted sum of W_v x is W_v of the weighted sum.
        query = self.query(cls) @ self.key.weight
        return self.mlp2(cls + self.value(attention(query, x, x)))


class CSTA(nn.Module):
    """Crossmodal space-time attention, both directions; tubelet tokens pass through untouched (Eq. 13)."""

    def __init__(self, d, mlp):
        super().__init__()
        self.video = CrossAttention(d, mlp)
        self.special = CrossAttention(d, mlp)

    def forward(self, video, special):
        """Tokens ``(b, 1 + n, d)`` of both branches in, the same shapes out.

        Both directions read the features as they left USTA, so their order does not matter.
        """
        cls_v, features_v = video.split([1, video.shape[1] - 1], dim=1)
        cls_s, features_s = special.split([1, special.shape[1] - 1], dim=1)
        new_v, new_s = self.video(cls_v, features_s), self.special(cls_s, features_v)
        return torch.cat([new_v, features_v], dim=1), torch.cat([new_s, features_s], dim=1)


class HSTAModule(nn.Module):
    """One level of the hierarchy: L_v and L_s USTA layers, then one CSTA (Eqs. 14-15)."""

    def __init__(self, *, d, l_v, l_s, csta, mlp):
        super().__init__()
        # Eq. 6 read literally makes a one-layer cascade the identity; read as a misprint, as Eq. 5 and
        # Table 1 require: L layers are L layers.
        self.usta_video = nn.Sequential(*(USTALayer(d) for _ in range(l_v)))
        self.usta_special = nn.Sequential(*(USTALayer(d) for _ in range(l_s)))
        self.csta = CSTA(d, mlp) if csta else None

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

    Raises
    ------
    ValueError
        If the image is not divisible by the patch, the frames not by the tubelet, or ``m < 1``.
    """

    def __init__(
        self, *, n_classes, n_frames, image_size, m, l_v, l_s, csta, d, patch_size, tubelet_size,
        positions, mlp, head, init,
    ):  # fmt: skip
        super().__init__()
        if m < 1 or min(l_v, l_s) < 0:
            raise ValueError(f"need m >= 1, l_v >= 0 and l_s >= 0, got m = {m}, l_v = {l_v}, l_s = {l_s}")
        branch = {"image_size": image_size, "patch_size": patch_size, "d": d, "positions": positions}
        self.embed_video = TubeletEmbedding(n_frames=n_frames, tubelet_size=tubelet_size, **branch)
        # Onset and apex are one tubelet deep, unless tubelets are single frames.
        self.embed_special = TubeletEmbedding(n_frames=2, tubelet_size=min(2, tubelet_size), **branch)
        self.blocks = nn.ModuleList(HSTAModule(d=d, l_v=l_v, l_s=l_s, csta=csta, mlp=mlp) for _ in range(m))
        norm = nn.LayerNorm(2 * d) if head == "ln_linear" else nn.Identity()
        self.head = nn.Sequential(norm, nn.Linear(2 * d, n_classes))
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
        return self.head(torch.cat([video[:, 0], special[:, 0]], dim=-1))
