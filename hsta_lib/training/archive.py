"""Results that travel with the repository: the trials of a report in one small file beside it.

``python -m hsta_lib.training.archive`` unpacks every archive of ``reports/`` into the results folder, so that
a report is made again without training. Class scores, which no table uses, are left out.
"""

import gzip
import io
import json
import sys
import zlib
from typing import NamedTuple

from hsta_lib import ROOT, config
from hsta_lib.files import text_digest, write_whole
from hsta_lib.training import store
from hsta_lib.training.trials import PROTOCOL, Trial, id_of

ENDING = ".trials.jsonl.gz"
_FORMAT = "trials of hsta_lib, 1"
_MOST_BYTES = 1 << 29  # unpacked
_DESCRIPTION = ("protocol", "settings", "fold", "seed", "fingerprint")
_OF_CLIPS = ("clip_id", "subject_id", "y_true")


class Unpacked(NamedTuple):
    """Trials of an archive: all; not stored yet; of no current settings; made by other code than this."""

    trials: int
    new: int
    outdated: int
    of_other_code: int


def pack(trials, folder, path):
    """Write the results of some trials into one file, each once; a file that is there is replaced.

    Its lines are JSON, compressed by gzip: a header; the tested clips of each fold, once; then one record per
    trial, in order of their ids, which counts the fold's clips from 0. Equal results give equal bytes. A
    ValueError if a trial has no result yet.
    """
    tested, lines = {}, []
    for trial in sorted(set(trials), key=lambda trial: trial.id):
        record = store.load(trial, folder)
        if record is None:
            raise ValueError(f"{trial.id} (fold {trial.fold}, seed {trial.seed}) has no result in {folder}")
        columns = record["predictions"]
        clips = _line({name: columns[name] for name in _OF_CLIPS})
        number = tested.setdefault(clips, len(tested))
        lines.append(_line(record | {"predictions": {"clips": number, "y_pred": columns["y_pred"]}}))
    body = "\n".join([*tested, *lines, ""])
    counts = {"clips": len(tested), "trials": len(lines)}
    text = f"{_line({'format': _FORMAT, **counts, 'check': text_digest(body)})}\n{body}"
    write_whole(path, gzip.compress(text.encode(), mtime=0))


def _line(value):
    return json.dumps(value, separators=(",", ":"))


def unpack(path, folder):
    """Store those results of an archive that are not there yet; what is stored is never replaced.

    Results of an older protocol or of settings that are no more are stored too; of a damaged archive none is.
    """
    records = _read(path)
    new = [record for record in records if not (folder / f"{record['id']}.json").exists()]
    for record in new:
        store.write(record, folder)
    current = [(trial, record) for record in records if (trial := _trial_of(record))]
    of_other_code = sum(bool(store.changed_code(*pair)) for pair in current)
    return Unpacked(len(records), len(new), len(records) - len(current), of_other_code)


def _read(path):
    content = io.BytesIO(path.read_bytes())
    try:
        text = gzip.GzipFile(fileobj=content).read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"unpacked it has more than {_MOST_BYTES >> 20} MB")
        header, *lines = [json.loads(line) for line in text.splitlines()]
        body = text.decode().partition("\n")[2]
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {_FORMAT!r}")
        if header.get("check") not in (None, text_digest(body)):  # older ones have none
            raise ValueError("it is not as it was written")
        tested, lines = lines[: header["clips"]], lines[header["clips"] :]
        if len(lines) != header["trials"]:
            raise ValueError(f"it holds {len(lines)} of {header['trials']} trials")
        return [_record(line, tested) for line in lines]
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{path.name} is damaged or no archive of trials ({error})") from error


def _record(line, tested):
    """A trial's record as it was stored, checked as `hsta_lib.training.store.load` does."""
    packed = line["predictions"]
    record = line | {"predictions": tested[packed["clips"]] | {"y_pred": packed["y_pred"]}}
    if record["id"] != id_of({name: record[name] for name in _DESCRIPTION}):
        raise ValueError(f"the record named {record['id']} describes another trial")
    if not store.is_whole(record):
        raise ValueError(f"the predictions of {record['id']} are missing or uneven")
    return record


def _trial_of(record):
    """The trial of a record; None if its protocol or settings are no more."""
    if record["protocol"] != PROTOCOL:
        return None
    try:
        settings = config.Settings.model_validate(record["settings"])
    except ValueError:  # a field or value that is no more
        return None
    trial = Trial(settings, *(record[name] for name in _DESCRIPTION[2:]))
    return trial if trial.id == record["id"] else None


def main():
    """Unpack all archives of ``reports/``, one line each; exit code 1 if one of them is damaged."""
    failed = False
    for path in sorted((ROOT / "reports").glob(f"*{ENDING}")):
        try:
            found = unpack(path, config.results_dir())
        except ValueError as error:
            failed = True
            print(error, file=sys.stderr)
        else:
            outdated = f", {found.outdated} of older settings" if found.outdated else ""
            other = f", {found.of_other_code} made by other code" if found.of_other_code else ""
            print(f"{path.name}: {found.trials} trials, {found.new} new{outdated}{other}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
