"""How long the readers take, from a dataset's folder to its clip table: ``python benchmarks/readers.py``.

CAS(ME)^3 with its macro-expressions has the size of the real one: 98 subjects of 13 videos, 860 micro- and
3,346 macro-expressions, 100,000 frame files (hard links to a tiny one; no reader opens a frame). The others
are synthetic ones of the size of the MEGC2019 composite's parts. Each is read once, right after its tree was
written, so the names of the files are in memory already. Of CAS(ME)^3 at most 3 s are wanted.
"""

import contextlib
import io
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from hsta_lib.config import Synthetic
from hsta_lib.data.readers import casme2, casme3, megc2019, samm, smic
from hsta_lib.data.synthetic import layouts
from hsta_lib.data.synthetic.population import FILMS, sample_clips
from hsta_lib.data.synthetic.sheets import all_workbook, micro_workbook
from hsta_lib.files import write_whole

N_FRAMES = 100_000
MOST_LINKS = 50_000  # to one file; ext4 allows 65,000
CASME3 = Synthetic(n_subjects=98, n_micro=860, n_macro=3346)
UNION = Synthetic(n_subjects=68, n_micro=576, frame_size=32)
LAYOUTS = {"casme2": casme2.read, "smic": smic.read, "samm": samm.read}


def write_casme3(root):
    clips = sample_clips(CASME3)
    write_whole(root / "annotation" / casme3.MICRO_SHEET, micro_workbook(clips, np.random.default_rng(0)))
    write_whole(root / "annotation" / casme3.ALL_SHEET, all_workbook(clips))
    videos = [f"spNO.{number + 1}/{film}" for number in range(CASME3.n_subjects) for film in FILMS]
    for video, numbers in zip(videos, np.array_split(np.arange(N_FRAMES), len(videos)), strict=True):
        folder = root / "part_A" / video / "color"
        folder.mkdir(parents=True)
        for frame, number in enumerate(numbers, start=1):
            tiny = root / f"tiny{number // MOST_LINKS}"
            tiny.touch()
            os.link(tiny, folder / f"{frame}.jpg")


def report(name, read, *arguments, **options):
    started = time.perf_counter()
    clips, problems, version, *_ = read(*arguments, **options)
    seconds = time.perf_counter() - started
    print(f"{name}: {seconds:.2f} s, {len(clips)} clips, {len(problems)} problems ({version})", flush=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        write_casme3(Path(folder))
        report("casme3", casme3.read, folder, macro=True)
    with tempfile.TemporaryDirectory() as folder:
        for layout, read in LAYOUTS.items():
            with contextlib.redirect_stdout(io.StringIO()):
                layouts.write(layout, layouts.part(layout, UNION), Path(folder) / layout)
            report(layout, read, Path(folder) / layout)
        report("megc2019", megc2019.read, folder)


if __name__ == "__main__":
    main()
