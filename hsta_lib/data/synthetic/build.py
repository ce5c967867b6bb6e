"""Folders of generated data, in any layout: built once, whole or not at all, and checked when used again."""

import json
from functools import partial
from pathlib import Path

from hsta_lib.data.readers.smic import parse_name
from hsta_lib.data.synthetic import clips, layouts
from hsta_lib.files import built_beside, file_digest, still_whole, text_digest, write_whole

VERSION = (
    1  # raise when `hsta_lib.data.synthetic.layouts` would write other clips or pixels for the same settings
)
_MANIFEST = "manifest.json"


def ensure(variant, spec, data_dir):
    """Folder of a benchmark in a layout; built if it is not there, or if a file of it is damaged or missing.

    It is what the reader of that dataset takes as its root. A ValueError if the layout is unknown.

    Parameters
    ----------
    variant : {"", "casme2", "smic", "samm", "megc2019"}
        Layout; empty is that of CAS(ME)^3, see `hsta_lib.data.synthetic.clips.ensure`.
    spec : hsta_lib.config.Synthetic
        Sizes of CAS(ME)^3's layout, or of the other three together, see `layouts.part`.
    data_dir : str or Path
        Folder that holds generated data.
    """
    if not variant:
        return clips.ensure(spec, data_dir)
    if variant != "megc2019" and variant not in layouts.LAYOUTS:
        known = ", ".join([*layouts.LAYOUTS, "megc2019"])
        raise ValueError(f"variant = {variant!r} is no layout of generated data; choose one of {known}")
    root = Path(data_dir) / f"synthetic-layouts-{_fingerprint(spec)}"
    for layout in layouts.LAYOUTS if variant == "megc2019" else [variant]:
        if not still_whole(root / layout, partial(_is_whole, root / layout)):
            _build(layout, spec, root / layout)
    return root if variant == "megc2019" else root / variant


def drawn_from(variant, spec, clip_ids):
    """What the generator drew some clips of a layout from: of each a benchmark and its name in that.

    It is what `clips.true_flow` takes. ``clip_ids``: as the reader of that layout gives them.
    """
    if not variant:
        return [(spec, clip_id) for clip_id in clip_ids]
    sources = {}
    for layout in layouts.LAYOUTS:
        own = layouts.part(layout, spec)
        for clip in layouts.layout_clips(layout, own).itertuples():
            name = _clip_id(layout, clip.subject, clip.clip)
            sources[name] = layouts.drawn_spec(layout, own), clip.drawn_from
    return [sources[clip_id] for clip_id in clip_ids]


def _clip_id(layout, subject, name):
    if layout == "smic":
        subject, name, _ = parse_name(name)
    return f"{layout}/{subject}/{name}"


def _fingerprint(spec):
    described = spec.model_dump(exclude={"depth"})  # these layouts have none
    text = json.dumps({**described, "version": [VERSION, clips.VERSION]}, sort_keys=True)
    return text_digest(text)[:10]


def _is_whole(root):
    try:
        digests = dict(json.loads((root / _MANIFEST).read_text()))
    except (OSError, ValueError, TypeError):
        return False
    return all(
        (root / name).is_file() and file_digest(root / name) == digest for name, digest in digests.items()
    )


def _build(layout, spec, root):
    with built_beside(root, partial(_is_whole, root)) as unfinished:
        digests = layouts.write(layout, layouts.part(layout, spec), unfinished)
        write_whole(unfinished / _MANIFEST, json.dumps(digests, indent=0))
