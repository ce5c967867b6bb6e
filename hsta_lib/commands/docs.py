"""Write what pages generate: the tables of README and docs between their markers, and the summary figure.

``python -m hsta_lib.commands.docs``, which is ``make readme``.
"""

import json
import re
import sys

import nbformat
import pandas as pd

from hsta_lib import ROOT, config
from hsta_lib.audit import lists
from hsta_lib.commands import plan, summary
from hsta_lib.commands.site import pages
from hsta_lib.evaluation.fitted import NOT_FITTED
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.paper import load_departures, load_systems, title_of
from hsta_lib.reporting.tables import HEADINGS, LINEAR, from_to, with_span
from hsta_lib.study import ablations, claims, honest, published

# Reference rows of Table 4 that the page of results shows; the report has all.
_SHOWN = (
    "majority class", "without a picture: film", "labels shuffled", "labels shuffled within each recording",
    "named setting, pixels normalised as ImageNet's", LINEAR, "random forest on the small difference",
    "linear model on the true motion", "ceiling: true action units known",
)  # fmt: skip


def _table(headings, rows):
    """A table in Markdown."""
    return "\n".join(
        "| " + " | ".join(map(str, cells)) + " |" for cells in [headings, ["---"] * len(headings), *rows]
    )


def results_table():
    """Table 4 in full: paper, ours, interval and data, from the committed record of the study."""
    record = summary.record_of("table4")
    data = pages.data_of(record)
    rows = [
        [name, HEADINGS[metric], f"{row[f'{metric}_paper']:.1f}", *_ours(row, metric), data]
        for name, row in record["summary"].items()
        for metric in ("uar", "uf1")
    ]
    for name in _SHOWN:
        rows.append([f"*{name}*", "UAR", "–", *_ours(record["references"][name], "uar"), data])
    return _table(["Table 4", "score", "paper, CAS(ME)³", "ours", "95 % interval", "data"], rows)


def _ours(row, metric):
    return f"{row[metric]:.1f}", from_to(row[f"{metric}_low"], row[f"{metric}_high"])


def scores_table():
    """The first row of every table's and figure's scores: the paper's UF1 and ours with its interval."""
    rows = []
    for name in sorted(claims.gather()["table"].unique()):
        record = summary.record_of(name)
        row, scores = next(iter(record["summary"].items()))
        if "uf1_p" in scores:  # a summary of differences; they are from the first row
            row, scores = record["cells"][0]["row"], record["cells"][0]
        paper = f"{scores['uf1_paper']:.1f}" if "uf1_paper" in scores else "–"
        rows.append([_linked(name, "../"), row, paper, *_ours(scores, "uf1")])
    headings = ["", "first row of its scores", "UF1, paper", "UF1, synthetic faces", "95 % interval"]
    return _table(headings, rows)


def fit_note():
    """Of which reports on synthetic faces the networks have fitted, from the committed records."""
    told = {
        "all": "> **All networks have fitted** in {}.",
        "some": "> **Not all networks have fitted** in {}. The reports name them, and no claim is decided by "
        "them.",
        "unknown": "> **How networks fitted was not stored** when {} were made. The order of their settings "
        "may only show how fast a network starts to learn, and they decide no claim.",
    }
    kinds = {kind: [] for kind in told}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if summary.paths_of(path.stem):
            fits = [row.get("fit") or "" for row in summary.record_of(path.stem)["cells"]]
            unfit = fits.count(NOT_FITTED)
            kind = "some" if unfit else "unknown" if "" in fits else "all"
            told_of = f" ({unfit} of {len(fits)} rows)" if kind == "some" else ""
            kinds[kind].append(_linked(path.stem) + told_of)
    return "\n>\n".join(told[kind].format(", ".join(names)) for kind, names in kinds.items() if names)


def control_note():
    """What the named setting, and changes to it, reach on synthetic faces, from the committed records."""
    table, controls = summary.record_of("table4"), summary.record_of("controls")
    hsta = next(row for name, row in table["summary"].items() if name.startswith("named setting"))
    linear = with_span(table["references"][LINEAR], "uar", unit="%")
    changes = [
        f"{with_span(controls['summary'][row], 'uar', '+', 'points')} with {row} (UF1 "
        f"{with_span(controls['summary'][row], 'uf1', '+')})"
        for row in ablations.ASKED
    ]
    return (
        f"UAR: HSTA {with_span(hsta, 'uar', unit='%')}, a {LINEAR} {linear}, chance "
        f"{100 / len(table['classes']):.1f} % ({_linked('table4')}). Against HSTA as it is: "
        f"{'; '.join(changes)} ({_linked('controls')})."
    )


def real_note():
    """What real motion shows, from the committed records."""
    table, scores = (
        json.loads(next((ROOT / "reports").glob(f"real-{name}-study-*.json")).read_text())
        for name in ("table1", "honest")
    )
    cells = pd.DataFrame(scores["cells"])
    name, trained = next(iter(table["summary"].items()))
    is_last, is_ours = cells["choice"] == honest.LAST, cells["system"] == published.SPECIAL_BRANCH
    fitted = cells["fit"] != NOT_FITTED
    span = {name: from_to(rows.min(), rows.max()) for name, rows in cells[fitted][["gain", "others"]].items()}
    others = cells.loc[is_last & fitted & ~is_ours, "uf1"]
    ours, chance = cells[is_last & is_ours].iloc[0], 100 / len(table["classes"])
    lines = [
        f"STSTNet's published weights, in our STSTNet: {summary.reproduced()} predictions equal its authors' "
        f"log ({_linked('reproduce')}).",
        f"HSTA's special branch, trained on CausalNet's pictures, {name}: UAR "
        f"{with_span(trained, 'uar', unit='%')}, chance {chance:.1f} % "
        "([Table 1](reports/real-table1.ipynb)).",
        f"Leaving one subject out, UF1 by the last epoch: this branch {with_span(ours, 'uf1', unit='%')}, "
        f"published networks that fitted {from_to(others.min(), others.max())}. All were trained here, for "
        f"about equal seconds ({_linked('honest')}).",
        "Where they fitted, the best epoch of each test subject, which some articles keep, adds "
        f"{span['gain']} points of UF1. The epoch that is best on all other subjects adds {span['others']}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def findings_table():
    """A line per notebook: its question, the verdicts on its claims, its report and its command."""
    verdicts = claims.gather()
    rows = []
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in sorted(paths, key=lambda path: not re.search(r"\d", path.stem)):  # those of the paper first
        question = pages.heading(nbformat.read(path, as_version=4)).partition(": ")[2]
        own = verdicts[verdicts["table"] == path.stem]
        found = [_counted(own[own["scope"] == scope]) for scope in ("paper", "synthetic")]
        found.append(_in_real_motion(path.stem, own[own["scope"] == claims.REAL_MOTION]))
        rows.append([_linked(path.stem), question, *found, f"`make {path.stem}`"])
    headings = ["report", "question", "claims, by the printed numbers", "patterns on synthetic faces"]
    return _table([*headings, "in real motion", "command"], rows)


def _in_real_motion(name, verdicts):
    """The report on real motion of a notebook that has another too, with its verdicts."""
    reports = ROOT / "reports"
    if not all((reports / f"{of}.ipynb").is_file() for of in (name, f"real-{name}")):
        return "–"
    return f"[{_counted(verdicts).replace('–', 'report')}](reports/real-{name}.ipynb)"


def _linked(name, up=""):
    """A report's name as a link; numbers of another run beside it are refused."""
    title, reports = title_of(name), ROOT / "reports"
    there = [path for path in (reports / f"{name}.ipynb", reports / f"real-{name}.ipynb") if path.is_file()]
    for path in there:
        pages.check_preset(json.loads(path.read_text()), path)
    return f"[{title}]({up}reports/{there[0].name})" if there else title


def _counted(verdicts):
    """Verdicts and their numbers: of quoted sentences, then of our own reading."""
    told = []
    for basis in (claims.QUOTED, claims.READING):
        counts = verdicts.loc[verdicts["basis"] == basis, "verdict"].map(claims.kind_of).value_counts()
        listed = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        told += [f"{basis}: {listed}"] if listed else []
    return "; ".join(told) or "–"


def lists_table():
    """What predictors that see no picture reach on the authors' lists, from the committed record."""
    rows = []
    for row in json.loads(lists.RECORD.read_text())["rows"]:
        dependent = ", *subject-dependent*" * ("authors' folds" in row["protocol"])
        scores = ["{} ({})".format(*_ours(row, name)) for name in ("uar", "uf1")]
        printed = ", ".join(f"{row[f'{name}_paper']:.1f}" for name in ("uar", "uf1"))
        rows.append([row["protocol"] + dependent, row["predictor"], *scores, printed])
    return _table(["protocol", "from this alone", "UAR", "UF1", "printed for HSTA, UAR and UF1"], rows)


def systems_table():
    """The baselines, from ``systems.csv``."""
    told = {
        "sees": "it sees", "published_form": "`published`", "reduced_form": "`reduced`",
        "shortcut": "shortcut of the original", "source": "source", "guessed": "guessed or left out",
    }  # fmt: skip
    rows = []
    for row in load_systems().to_dict("records"):
        module = f"[{row['called']}](../hsta_lib/models/baselines/{row['module']}.py)"
        rows.append([module, f"`{row['system']}`", row["tables"] or "extra", *(row[name] for name in told)])
    return _table(["baseline", "`BASELINES`", "Table", *told.values()], rows)


def plan_table():
    """Trials and projected GPU-hours of every table at full size, one seed."""
    planned = plan.plan_paper()
    counted = planned.groupby(["table", "recipe"], sort=False)[["trials", "gpu_hours"]].sum().unstack()
    rows = [
        [
            table,
            f"{row['trials', 'equations']:.0f}",
            *(f"{row['gpu_hours', one]:.1f}" for one in plan.RECIPES),
        ]
        for table, row in counted.iterrows()
    ]
    return _table(["", "trials", "GPU-hours, `equations`", "GPU-hours, `released`"], rows)


def scale_table():
    """Hours of the whole paper at full size on 1, 8 and 64 GPUs, one seed."""
    gpus, rows = (1, 8, 64), []
    for recipe in plan.RECIPES:
        hours, longest = plan.hours_on(gpus, recipe)
        rows.append([f"`{recipe}`", *(f"{value:.2g} h" for value in hours), f"{60 * longest:.2g} min"])
    return _table(["", *(f"{n} GPU{'s' * (n > 1)}" for n in gpus), "longest trial"], rows)


def coverage_table():
    """How often intervals contain the truth, over seeds, skills and scores, from the benchmark's record."""
    table = pd.read_csv(ROOT / "benchmarks" / "coverage.csv")
    ways = list(table["interval"].unique())
    rows = []
    for (dataset, subjects), group in table.groupby(["dataset", "subjects"], sort=False):
        found = {way: part[list(METRICS)] for way, part in group.groupby("interval")}
        ranges = [from_to(found[way].min(axis=None), found[way].max(axis=None)) for way in ways]
        rows.append([dataset, subjects, *ranges])
    widths = table.groupby("interval")[[f"{metric}_width" for metric in METRICS]].mean().mean(axis=1)
    rows.append(["mean width, in points", "", *(f"{widths[way]:.1f}" for way in ways if way in widths)])
    return _table(["subjects as in", "how many", *ways], rows)


def comparisons_table():
    """How often families of ten settings are wrong, and what is found, from the benchmark's record."""
    table = pd.read_csv(ROOT / "benchmarks" / "comparisons.csv")
    rows = []
    for design, group in table.groupby(["dataset", "subjects", "seeds", "skill"], sort=False):
        wrong = group[group["gain"] == 0].filter(like="_wrong").to_numpy()
        better = group[group["gain"] > 0]
        found = [f"{row.uf1_difference:.1f} points: {row.uf1_found:.0f} %" for row in better.itertuples()]
        said = f"{better['uf1_detectable'].mean():.1f}" if len(better) else "–"
        rows.append([*design, from_to(wrong.min(), wrong.max()), ", ".join(found) or "–", said])
    headings = ["subjects as in", "how many", "seeds", "skill", "family-wise error, %"]
    return _table([*headings, "power: differences in UF1 that are found", "stated for a power of 80 %"], rows)


def benchmarks_table():
    """What the scripts of ``benchmarks/`` measured, a table per machine, from their record."""
    parts = []
    for machine, rows in pd.read_csv(ROOT / "benchmarks" / "results.csv").groupby("machine", sort=False):
        cells = []
        for row in rows.itertuples():
            spread = "" if row.least == row.largest else f"{rounded(row.least)} to {rounded(row.largest)}"
            cells.append([row.what, f"{rounded(row.median)} {row.unit}", spread, f"`{row.script}`"])
        parts.append(_table([machine, "median", "range", "by"], cells))
    return "\n\n".join(parts)


def rounded(value):
    """A measured number as it is shown: three digits, large ones whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times_note():
    """How long the commands of the README take, from the benchmarks' record."""
    table = pd.read_csv(ROOT / "benchmarks" / "results.csv")
    told = [
        f"`{row.what}` {rounded(row.median)} minutes on {row.machine}"
        for row in table[table["script"] == "commands.py"].itertuples()
    ]
    return (
        f"After the set-up: {'; '.join(told)}."
        if told
        else "Each takes minutes after the set-up, on two cores."
    )


def campaign_table():
    """What the events of the campaign were, by kind, and how many were survived, from its record."""
    table = pd.read_csv(ROOT / "benchmarks" / "chaos.csv", keep_default_na=False)
    rows = []
    for what, events in [*table.groupby("what"), ("all", table)]:
        struck, survived = events["whom"] != "", events["fault"] == ""
        whom = ", ".join(sorted(set(events.loc[struck, "whom"]))) if what != "all" else ""
        rows.append([what, whom, len(events), struck.sum(), survived.sum(), f"{events['recovery'].max()} s"])
    return _table(["what", "whom", "events", "of them in time", "survived", "longest recovery"], rows)


def departures_table():
    """Paper, released code and this study, from ``departures.csv``; a field's values, from the settings."""
    rows = [
        [row.topic, row.paper, row.released_code, row.this_study, _field_cell(row.field)]
        for row in load_departures().itertuples()
    ]
    return _table(["what", "paper", "released code", "this study", "field"], rows)


def _field_cell(field):
    """A field and its value, and that of the recipe ``released`` where it is another."""
    if not field:
        return ""
    if field in config.Parameters.model_fields:
        values = [getattr(config.Parameters(), field)]
    else:
        settings = config.Settings()
        values = [config.field_value(s, field) for s in (settings, config.as_released(settings))]
    shown = [f"{value:g}" if isinstance(value, float) else str(value) or "the preset's" for value in values]
    return f"`{field}`: " + " → ".join(f"`{value}`" for value in dict.fromkeys(shown))


def presets_table():
    """What each preset trains."""
    rows = []
    for name in ("smoke", "quick", "study", "full"):
        preset = config.load_preset(name)[1]
        sizes = [preset.synthetic.n_micro, preset.synthetic.n_subjects, preset.frames.image_size]
        folds = "held out" if preset.holdout else preset.split.n_folds
        sizes += [preset.model.d, preset.training.epochs, len(preset.seeds), folds]
        rows.append([f"`{name}`", *sizes])
    return _table(["preset", "clips", "subjects", "px", "d", "epochs", "seeds", "folds"], rows)


SECTIONS = {
    "README.md": {
        "fit": fit_note,
        "lists": lists_table,
        "real": real_note,
        "control": control_note,
        "findings": findings_table,
        "times": times_note,
    },
    "docs/baselines.md": {"systems": systems_table},
    "docs/benchmarks.md": {"benchmarks": benchmarks_table},
    "docs/cluster.md": {"plan": plan_table, "scale": scale_table},
    "docs/departures.md": {"departures": departures_table},
    "docs/parameters.md": {"presets": presets_table},
    "docs/reliability.md": {"campaign": campaign_table},
    "docs/results.md": {"results": results_table, "scores": scores_table},
    "docs/statistics.md": {"coverage": coverage_table, "comparisons": comparisons_table},
}


def render(page, text):
    """A page's text with its generated tables written anew; ``page`` is a key of `SECTIONS`."""
    for name, make in SECTIONS[page].items():
        start, end = f"<!-- {name}: made by `make readme` -->", f"<!-- end of {name} -->"
        if start not in text or end not in text:
            raise ValueError(f"{page}: the markers of section {name!r} are missing")
        before, rest = text.split(start)
        text = f"{before}{start}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


def main():
    """Write all of it anew; a line says which page is at work."""
    for page in SECTIONS:
        print(f"{page}: {', '.join(SECTIONS[page])}", file=sys.stderr, flush=True)
        path = ROOT / page
        path.write_text(render(page, path.read_text()))
    summary.PATH.write_text(summary.draw())


if __name__ == "__main__":
    try:
        main()
    except ValueError as refused:
        sys.exit(f"The page was not written. {refused}")
