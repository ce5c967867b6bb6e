"""Write the generated tables of README.md between their markers: ``python -m hsta_lib.commands.docs``."""

import json
import re

import pandas as pd

from hsta_lib import ROOT, config
from hsta_lib.audit import lists
from hsta_lib.commands import plan
from hsta_lib.commands.site import pages
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.paper import load_departures, load_systems
from hsta_lib.reporting.tables import HEADINGS, from_to
from hsta_lib.study import claims

# Reference rows of Table 4 that the first screen shows; the report has all.
_SHOWN = (
    "majority class", "without a picture: film", "labels shuffled", "labels shuffled within each recording",
    "named setting, pixels normalised as ImageNet's", "linear model on the true motion",
    "ceiling: true action units known",
)  # fmt: skip
RECORD = ROOT / "reports" / "table4-study-synthetic-subject.json"


def results_table():
    """Paper | ours | interval | data, from the committed record of the study."""
    record = json.loads(RECORD.read_text())
    lines = [
        "| Table 4 | score | paper, CAS(ME)³ | ours | 95 % interval | data |",
        "|---|---|---|---|---|---|",
    ]
    data = f"{record['data']}, {record['n_clips']} clips, {record['n_subjects']} subjects"
    for name, ours in record["summary"].items():
        for metric in ("uar", "uf1"):
            interval = from_to(ours[f"{metric}_low"], ours[f"{metric}_high"])
            scores = [f"{ours[column]:.1f}" for column in (f"{metric}_paper", metric)]
            cells = [name, HEADINGS[metric], *scores, interval, data]
            lines.append("| " + " | ".join(cells) + " |")
    for name in _SHOWN:
        row = record["references"][name]
        interval = from_to(row["uar_low"], row["uar_high"])
        lines.append(f"| *{name}* | UAR | – | {row['uar']:.1f} | {interval} | {data} |")
    return "\n".join(lines)


def findings_table():
    """A line per table and figure: a score, and claims by verdict, on printed numbers and synthetic faces."""
    verdicts = claims.gather()
    lines = [
        "| | first row of its scores | UF1, paper | UF1, synthetic faces | its claims, by printed numbers | "
        "as patterns on synthetic faces | command |",
        "|---" * 7 + "|",
    ]
    for name, rows in verdicts.groupby("table"):
        title = re.sub(r"(\d)", r" \1", name).capitalize()
        report = f"reports/{name}.ipynb"
        link = f"[{title}]({report})" if (ROOT / report).is_file() else title
        by_scope = [_counted(rows[rows["scope"] == scope]) for scope in ("paper", "synthetic")]
        lines.append("| " + " | ".join([link, *_first_row(name), *by_scope, f"`make {name}`"]) + " |")
    return "\n".join(lines)


def _first_row(name):
    """First row of a record's scores, the paper's UF1 and ours with its interval."""
    (path,) = (ROOT / "reports").glob(f"{name}-study-synthetic-*subject.json")
    report = ROOT / "reports" / f"{name}.ipynb"
    if report.is_file():
        pages.check_preset(json.loads(report.read_text()), report)
    record = json.loads(path.read_text())
    row, scores = next(iter(record["summary"].items()))
    if "uf1_p" in scores:  # a summary of differences; they are from the first row
        row, scores = record["cells"][0]["row"], record["cells"][0]
    paper = f"{scores['uf1_paper']:.1f}" if "uf1_paper" in scores else "–"
    return row, paper, f"{scores['uf1']:.1f} ({from_to(scores['uf1_low'], scores['uf1_high'])})"


def _counted(verdicts):
    """Verdicts and their numbers: of quoted sentences, then of our own reading."""
    told = []
    for basis in (claims.QUOTED, claims.READING):
        kinds = verdicts.loc[verdicts["basis"] == basis, "verdict"].str.split(":").str[0]
        counts = kinds.str.replace(" on the synthetic benchmark", "").value_counts()
        listed = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        told += [f"{basis}: {listed}"] if listed else []
    return "; ".join(told) or "–"


def lists_table():
    """What predictors that see no picture reach on the authors' lists, from the committed record."""
    rows = json.loads(lists.RECORD.read_text())["rows"]
    lines = [
        "| protocol | from this alone | UAR | UF1 | printed for HSTA, UAR and UF1 |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        dependent = ", *subject-dependent*" * ("authors' folds" in row["protocol"])
        cells = [row["protocol"] + dependent, row["predictor"]]
        for name in ("uar", "uf1"):
            cells.append(f"{row[name]:.1f} ({from_to(row[f'{name}_low'], row[f'{name}_high'])})")
        cells.append(", ".join(f"{row[f'{name}_paper']:.1f}" for name in ("uar", "uf1")))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def systems_table():
    """The comparison systems, from ``systems.csv``."""
    heading = "| system | Table | it sees | `published` | `reduced` | shortcut of the original |"
    lines = [heading, "|---" * 6 + "|"]
    for row in load_systems().to_dict("records"):
        cells = [row["called"], row["tables"] or "extra", row["sees"]]
        cells += [row[name] for name in ("published_form", "reduced_form", "shortcut")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plan_table():
    """Trials and projected GPU-hours of every table at full size, one seed."""
    planned = plan.plan_paper()
    counted = planned.groupby(["table", "recipe"], sort=False)[["trials", "gpu_hours"]].sum().unstack()
    lines = ["| | trials | GPU-hours, `equations` | GPU-hours, `released` |", "|---" * 4 + "|"]
    for table, row in counted.iterrows():
        hours = [f"{row['gpu_hours', recipe]:.1f}" for recipe in plan.RECIPES]
        lines.append("| " + " | ".join([table, f"{row['trials', 'equations']:.0f}", *hours]) + " |")
    return "\n".join(lines)


def coverage_table():
    """How often intervals contain the truth, over seeds, skills and scores, from the benchmark's record."""
    rows = pd.read_csv(ROOT / "benchmarks" / "coverage.csv")
    ways = list(rows["interval"].unique())
    lines = ["| " + " | ".join(["subjects as in", "how many", *ways]) + " |", "|---" * (2 + len(ways)) + "|"]
    for (dataset, subjects), group in rows.groupby(["dataset", "subjects"], sort=False):
        found = {way: part[list(METRICS)] for way, part in group.groupby("interval")}
        ranges = [from_to(found[way].min(axis=None), found[way].max(axis=None)) for way in ways]
        lines.append("| " + " | ".join([dataset, str(subjects), *ranges]) + " |")
    return "\n".join(lines)


def benchmarks_table():
    """What the scripts of ``benchmarks/`` measured, a table per machine, from their record."""
    parts = []
    for machine, rows in pd.read_csv(ROOT / "benchmarks" / "results.csv").groupby("machine", sort=False):
        parts += ["", f"| {machine} | median | range | by |", "|---" * 4 + "|"]
        for row in rows.itertuples():
            spread = "" if row.least == row.largest else f"{rounded(row.least)} to {rounded(row.largest)}"
            cells = [row.what, f"{rounded(row.median)} {row.unit}", spread, f"`{row.script}`"]
            parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts[1:])


def rounded(value):
    """A measured number as it is shown: three digits, large ones whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def departures_table():
    """Paper, released code and this study, from ``departures.csv``; a field's values, from the settings."""
    lines = ["| what | paper | released code | this study | field |", "|---|---|---|---|---|"]
    for row in load_departures().itertuples():
        cells = [row.topic, row.paper, row.released_code, row.this_study, _field_cell(row.field)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _field_cell(field):
    """A field and its value, and that of the recipe ``released`` where it is another."""
    if not field:
        return ""
    if field in config.Parameters.model_fields:
        values = [getattr(config.Parameters(), field)]
    else:
        settings = config.Settings()
        values = [config.field_value(s, field) for s in (settings, config.as_released(settings))]
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return f"`{field}`: " + " → ".join(f"`{value}`" for value in dict.fromkeys(shown))


def presets_table():
    """What each preset trains."""
    rows = []
    for name in ("smoke", "quick", "study", "full"):
        _, preset = config.load_preset(name)
        rows.append(
            {
                "preset": f"`{name}`",
                "clips": preset.synthetic.n_micro,
                "subjects": preset.synthetic.n_subjects,
                "px": preset.frames.image_size,
                "d": preset.model.d,
                "epochs": preset.training.epochs,
                "seeds": len(preset.seeds),
                "folds": preset.split.n_folds,
            }
        )
    table = pd.DataFrame(rows).astype(str)
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


SECTIONS = {
    "results": results_table,
    "findings": findings_table,
    "lists": lists_table,
    "presets": presets_table,
    "departures": departures_table,
    "plan": plan_table,
    "coverage": coverage_table,
    "benchmarks": benchmarks_table,
    "systems": systems_table,
}


def render(text):
    """A README's text with its generated sections written anew.

    Raises
    ------
    ValueError
        If a section's markers are missing.
    """
    for name, make in SECTIONS.items():
        start, end = f"<!-- {name}: made by `make readme` -->", f"<!-- end of {name} -->"
        if start not in text or end not in text:
            raise ValueError(f"README.md: the markers of section {name!r} are missing")
        before, rest = text.split(start)
        text = f"{before}{start}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(render(path.read_text()))
