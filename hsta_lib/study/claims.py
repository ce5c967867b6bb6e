"""The paper's claims, each with the test that decides it, and their verdicts. No torch.

``paper/claims.yaml`` names the tests before any run. A verdict is about something: ``paper``, arithmetic on
the printed numbers; ``code``, what the authors released (no report here is about it, but one may be);
``real:<dataset>``, clips of a real dataset; or ``synthetic``, where a pattern is seen or not, which says
nothing about the paper.
"""

import functools
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from IPython.display import Markdown
from pydantic import Field, model_validator

from hsta_lib import ROOT, config, paper
from hsta_lib.config import Group, validated
from hsta_lib.data.splits import is_subject_dependent
from hsta_lib.evaluation.comparisons import compare, detectable, group_means, pair, trend
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.files import write_whole
from hsta_lib.paper import ROW_NAMES, load_table, printed_cells, table_names
from hsta_lib.reporting.tables import HEADINGS, LEFT, span

CLAIMS = Path(paper.__file__).with_name("claims.yaml")
REPORTS = ROOT / "reports"
RECORD = REPORTS / "claims.json"
PAPER, SYNTHETIC = "paper", "synthetic"
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
_SEEN = {
    SUPPORTED: "pattern seen on the synthetic benchmark",
    CONTRADICTED: "reverse seen on the synthetic benchmark",
    UNDECIDED: "not seen on the synthetic benchmark",
}
_N_SEEDS, _ALPHA = 5, 0.05
_N_SWAPS = 2999  # a p of 0.05 is then known to within 0.008, and a report is made again in seconds
_UNPRINTED = "figure3"
_NAMED_BY_SETTINGS = ("table1", "table2", "table3", "table4")
# Columns that do not tell rows apart. Table 7's ticks for special frames follow from those for flow, and one
# is missing.
_NO_KEYS = (*METRICS, *ROW_NAMES, "year", "method_source", "special_frames")
_SCOPES = {PAPER: "By the printed numbers alone", SYNTHETIC: "On the synthetic benchmark"}
_SIZES = ("smoke", "quick")  # presets too small for a verdict

_NEEDS = {
    "higher": ("rows", "against"),
    "best": ("rows", "against"),
    "rises": ("rows", "order"),
    "falls": ("rows", "order"),
    "rises_then_falls": ("rows", "order", "peak"),
    "paper_only": (),
}


class Rule(Group):
    """The test of a claim: which rows of the table, and what must hold of them."""

    kind: Literal["higher", "best", "rises", "falls", "rises_then_falls", "paper_only"]
    rows: str = ""
    against: str = ""
    order: str = ""
    peak: float | None = None
    continuous: bool = False

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self):
        for name in _NEEDS[self.kind]:
            if getattr(self, name) in ("", None):
                raise ValueError(f"kind {self.kind} needs {name}")
        if not self.order and bool(self.rows) != bool(self.against):
            raise ValueError("rows and against need each other")
        return self


class Claim(Group):
    """One claim of the paper; see the head of ``paper/claims.yaml``."""

    id: str = Field(pattern="^[a-z0-9-]+$")
    where: str = Field(min_length=1)
    says: str = Field(min_length=1)
    basis: Literal["sentence", "table"]
    table: str
    metrics: list[Literal["acc", "uar", "uf1"]] = Field(min_length=1)
    margin: float = Field(0, ge=0)
    test: Rule


def load_claims(path=CLAIMS):
    """The claims and their tests.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of Claim

    Raises
    ------
    ValueError
        Naming file and claim, if a field is missing, unknown or not allowed, an id occurs twice, the paper
        has no such table, or a query does not select rows of it.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is no YAML file: {error}") from error
    if not isinstance(content, dict) or set(content) != {"claims", "changes"}:
        raise ValueError(f"{path.name}: must hold claims and changes, and nothing else")
    claims = []
    for number, values in enumerate(content["claims"], start=1):
        known = isinstance(values, dict) and "id" in values
        source = f"{path.name}: claim {values['id'] if known else number}"
        claim = validated(Claim, values, source)
        if claim.id in [other.id for other in claims]:
            raise ValueError(f"{source}: this id occurs twice")
        _check_rows(claim, source)
        claims.append(claim)
    return claims


def _check_rows(claim, source):
    if claim.table not in (*table_names(), _UNPRINTED):
        raise ValueError(f"{source}: table = {claim.table!r} is none of the paper's")
    if claim.table == _UNPRINTED or not claim.test.rows:
        return
    rows = _printed(claim.table)
    rows = rows.assign(place=range(len(rows)))
    absent = [metric for metric in claim.metrics if metric not in rows]
    if absent:
        raise ValueError(f"{source}: {claim.table} has no {absent[0]}")
    try:
        for query in filter(None, (claim.test.rows, claim.test.against)):
            if rows.query(query).empty:
                raise ValueError(f"{query!r} selects no row of {claim.table}")
        _parts(claim.test, rows)
    except (NameError, SyntaxError, KeyError, TypeError, ValueError) as error:  # of queries, see pandas
        raise ValueError(f"{source}: {error}") from error


_claims = functools.cache(load_claims)  # selecting all rows once more takes longer than most tests


# --- the rows and comparisons of a claim ------------------------------------------------------------------


def _printed(name):
    """Printed rows of a table with the settings they stand for; of Figure 3 none."""
    if name == _UNPRINTED:
        return pd.DataFrame({"n_frames": []})
    table = load_table(name)
    if name not in _NAMED_BY_SETTINGS:
        return table
    cells = printed_cells(name)
    cells = cells if "csta" in cells else cells.assign(csta=True)
    return cells.assign(**{metric: table[metric] for metric in METRICS})


def _matched(name, table):
    """Printed rows with ``place``: where our table has the same setting, NaN where it has not."""
    printed = _printed(name)
    if name == _UNPRINTED:
        return (
            table.assign(place=range(len(table))) if set(printed) <= set(table) else printed.assign(place=0)
        )
    if name in _NAMED_BY_SETTINGS and "csta" not in table:
        table = table.assign(csta=True)
    keys = [column for column in printed if column not in _NO_KEYS]
    if not set(keys) <= set(table):
        return printed.assign(place=np.nan)
    ours = table[keys].infer_objects().assign(place=range(len(table))).drop_duplicates(keys)
    return printed.merge(ours, on=keys, how="left")


def _places(rows, query, order=""):
    chosen = rows.query(query)
    return list(
        dict.fromkeys(chosen.sort_values(order, kind="stable")["place"] if order else chosen["place"])
    )


def _parts(rule, rows):
    """Comparisons of which all are above zero if the claim holds."""
    if not rule.order:
        first, second = (_places(rows, query) for query in (rule.against, rule.rows))
        if rule.kind != "best":
            return [group_means(first, second)]
        if len(second) > 1:
            raise ValueError(f"{rule.rows!r} selects {len(second)} rows; one can be the best")
        return [pair(other, second[0]) for other in first]
    places = _places(rows, rule.rows, rule.order)
    if rule.kind == "rises":
        return [trend(places)]
    if rule.kind == "falls":
        return [trend(places[::-1])]
    peak = _places(rows, f"({rule.rows}) and {rule.order} == {rule.peak}")
    if not peak or peak[0] in (places[0], places[-1]):
        raise ValueError(f"peak {rule.peak:g} must be one of the rows, neither the first nor the last")
    at = places.index(peak[0])
    return [trend(places[: at + 1]), trend(places[at:][::-1])]


def _family(claim, rows, block):
    """The claim's comparisons, or why there are none: rows that are missing or not of the same clips."""
    rule = claim.test
    if rule.kind == "paper_only":
        return f"{NOT_TESTED}: decided on the printed numbers alone"
    selected = pd.concat([rows.query(query) for query in (rule.rows, rule.against) if query])
    if selected["place"].isna().any():
        return f"{NOT_TESTED}: rows missing"
    rows = rows.assign(place=rows["place"].astype("Int64"))
    try:
        parts = _parts(rule, rows)
    except ValueError:  # of Figure 3, whose rows are those of the study
        return f"{NOT_TESTED}: rows missing"
    if len(set(block[selected["place"].astype(int)])) > 1:
        return f"{NOT_TESTED}: the rows are not of the same clips and labels"
    return parts


# --- verdicts on the printed numbers ----------------------------------------------------------------------


def decide_printed():
    """Verdicts of all claims by arithmetic on the printed numbers.

    Returns
    -------
    DataFrame
        As `decide`, scope ``paper``: supported if the printed numbers hold in all metrics the claim names,
        contradicted if in none, else undecided. No chance enters, so there are no intervals.
    """
    return pd.DataFrame([_decide_printed(claim) for claim in _claims()])


def _decide_printed(claim):
    if claim.table == _UNPRINTED:
        return _row(claim, PAPER, f"{UNDECIDED}: printed as a picture, without values")
    if not claim.test.rows:
        verdict = f"{UNDECIDED}: nothing that is printed decides"
        return _row(claim, PAPER, verdict, details=_in_its_favour(claim).strip())
    rows = _printed(claim.table)
    rows = rows.assign(place=range(len(rows)))
    parts = _parts(claim.test, rows)
    values = {metric: _least(parts, rows[metric].to_numpy()) for metric in claim.metrics}
    holds = {metric: _holds(claim, rows, metric, value) for metric, value in values.items()}
    verdict = SUPPORTED if all(holds.values()) else UNDECIDED if any(holds.values()) else CONTRADICTED
    details = "; ".join(
        f"{HEADINGS[metric]} {value:+.1f} ({'so it is' if holds[metric] else 'not so'})"
        for metric, value in values.items()
    )
    if verdict != SUPPORTED:
        details += _in_its_favour(claim)
    score = min(values, key=lambda metric: (holds[metric], values[metric]))
    return _row(claim, PAPER, verdict, score=score, estimate=values[score], details=details)


def _in_its_favour(claim):
    """The best innocent explanation of a sentence that does not fit, see `hsta_lib.paper_check`."""
    told = pd.read_csv(CLAIMS.with_name("sentences.csv"), keep_default_na=False)
    found = told.loc[told["claim"] == claim.says, "innocent"]
    return f" In its favour: {found.iloc[0]}." if found.any() else ""


def _least(parts, values):
    differences = [
        np.dot(part.weights, values[list(part.second)] - values[list(part.first)]) for part in parts
    ]
    return float(np.round(min(differences), 9))


def _holds(claim, rows, metric, value):
    rule = claim.test
    if rule.continuous:
        curve = rows.query(rule.rows).sort_values(rule.order, kind="stable")[metric].to_numpy()
        return _step_by_step(rule.kind, curve)
    if rule.kind == "paper_only" and claim.margin:
        return abs(value - claim.margin) < 0.5
    return value >= 0 if rule.kind == "best" else value > claim.margin


def _step_by_step(kind, curve):
    steps = np.diff(curve)
    top = {"rises": len(curve) - 1, "falls": 0, "rises_then_falls": curve.argmax()}[kind]
    inside = kind != "rises_then_falls" or 0 < top < len(curve) - 1
    return bool(inside and (steps[:top] > 0).all() and (steps[top:] < 0).all())


# --- verdicts on data -------------------------------------------------------------------------------------


def power(name, table, matrices, rng=None, n_swaps=_N_SWAPS):
    """What differences the tests of a table would find: to be shown before any result.

    Parameters
    ----------
    name, table, matrices, rng, n_swaps
        As for `decide`.

    Returns
    -------
    DataFrame
        ``id, says, comparisons`` and per metric the smallest difference, in points (of ordered rows: slope
        per step), that is found with a probability of 80 %, of a claim's comparisons the largest; or
        ``reason``.
    """
    rows = []
    claims, tested = _tested(name, table, matrices, rng, n_swaps, with_results=False)
    for claim in claims:
        found = tested[claim.id]
        row = {"id": claim.id, "says": claim.says}
        if isinstance(found, str):
            rows.append({**row, "comparisons": 0, "reason": found})
            continue
        largest = found.groupby("score")["detectable"].max()
        rows.append({**row, "comparisons": found["part"].nunique(), **largest, "reason": ""})
    return pd.DataFrame(rows, columns=["id", "says", "comparisons", *METRICS, "reason"])


def decide(name, table, matrices, scope, rng=None, n_swaps=_N_SWAPS):
    """Verdicts of the claims that are about one table.

    All comparisons of the table's claims are one family, corrected together (see
    `comparisons.compare`). A claim is supported if, of every comparison it consists of and in every
    metric it names, the interval lies beyond its margin and the adjusted p is below 0.05; contradicted if one
    of its comparisons is reversed likewise, in every metric; else undecided. Ordered rows are tested by the
    slope of a straight line, `best` against each other row.

    Parameters
    ----------
    name : str
        ``table1`` to ``table7`` or ``figure3``.
    table : DataFrame
        Our cells, with the settings' columns of the printed table.
    matrices : array_like, shape (n_cells, n_seeds, n_subjects, n_classes, n_classes)
        Of these cells. Cells of other clips or labels than the others (Table 7) are a family of their own,
        and p values are multiplied by the number of families.
    scope : str
        ``synthetic``, ``code`` or ``real:<dataset>``.
    rng : numpy.random.Generator, optional
    n_swaps : int
        As for `hsta_lib.evaluation.comparisons.compare`.

    Returns
    -------
    DataFrame
        One row per claim: ``id, table, where, says, basis, scope, verdict``; of the comparison and metric
        that favours the claim least ``score, estimate, low, high, p_adjusted, detectable``, in points, above
        zero as claimed; ``details``: the same for each metric, in words. On the synthetic benchmark a verdict
        says whether the pattern is seen there. Fewer than five seeds decide nothing; rows that are missing,
        because the study has another grid, test nothing.

    Raises
    ------
    ValueError
        If the scope is another or no claim is about the table, or as `comparisons.compare`.
    """
    if scope not in ("synthetic", "code") and not (scope.startswith("real:") and scope != "real:"):
        raise ValueError(f"scope = {scope!r} must be synthetic, code or real:<dataset>")
    claims, tested = _tested(name, table, matrices, rng, n_swaps)
    n_seeds = np.shape(matrices)[1]
    return pd.DataFrame([_decide(claim, tested[claim.id], n_seeds, scope) for claim in claims])


def _tested(name, table, matrices, rng, n_swaps, with_results=True):
    """The table's claims, and by id the results of their comparisons, or why there are none."""
    rng = np.random.default_rng(0) if rng is None else rng
    claims = [claim for claim in _claims() if claim.table == name]
    if not claims:
        raise ValueError(f"no claim is about {name!r}; see paper/{CLAIMS.name}")
    matrices = np.asarray(matrices)
    if len(matrices) != len(table):
        raise ValueError(f"matrices of {len(matrices)} cells, but the table has {len(table)} rows")
    block, rows = _blocks(matrices), _matched(name, table)
    found = {claim.id: _family(claim, rows, block) for claim in claims}
    families = {}
    for claim in claims:
        if not isinstance(found[claim.id], str):
            families.setdefault(block[found[claim.id][0].first[0]], []).append(claim)
    for number, members in families.items():
        parts = [(claim, part, one) for claim in members for part, one in enumerate(found[claim.id])]
        chosen = np.flatnonzero(block == number)
        family = [_within(one, chosen) for _, _, one in parts]
        results = _results(matrices[chosen], family, rng, n_swaps, len(families), with_results)
        for claim in members:
            of_claim = [
                result.assign(part=part)
                for (owner, part, _), result in zip(parts, results, strict=True)
                if owner is claim
            ]
            found[claim.id] = pd.concat(of_claim).loc[claim.metrics].reset_index()
    return claims, found


def _blocks(matrices):
    """Number of the group of cells with the same clips, for each cell."""
    clips = matrices[:, 0].sum(axis=-1).reshape(len(matrices), -1)
    return np.unique(clips, axis=0, return_inverse=True)[1].ravel()


def _within(one, chosen):
    """The same comparison with settings counted among the chosen ones."""
    first, second = (tuple(np.searchsorted(chosen, group).tolist()) for group in (one.first, one.second))
    return one._replace(first=first, second=second)


def _results(matrices, family, rng, n_swaps, n_families, with_results):
    """Of each comparison a frame by score, in points; p values and power of all families together."""
    columns = {"detectable": detectable(matrices, family, rng, alpha=_ALPHA / n_families, n_swaps=n_swaps)}
    if with_results:
        found = compare(matrices, family, rng, n_swaps)
        columns |= {"estimate": found.estimate, "low": found.low, "high": found.high}
    frames = [
        pd.DataFrame(
            {name: 100 * values[row] for name, values in columns.items()}, index=METRICS
        ).rename_axis("score")
        for row in range(len(family))
    ]
    if with_results:
        adjusted = np.minimum(n_families * found.p_adjusted, 1)
        frames = [frame.assign(p_adjusted=p) for frame, p in zip(frames, adjusted, strict=True)]
    return frames


def _decide(claim, found, n_seeds, scope):
    if isinstance(found, str):
        return _row(claim, scope, found)
    # For or against the claim, and how surely: from -1 to 1.
    sureness = np.sign(found["estimate"]) * (1 - found["p_adjusted"])
    found = found.assign(sureness=sureness).sort_values(["sureness", "estimate"], kind="stable")
    least = found.drop_duplicates("score").set_index("score")
    details = "; ".join(_in_words(metric, least.loc[metric]) for metric in claim.metrics)
    numbers = found.iloc[0][["score", "estimate", "low", "high", "p_adjusted", "detectable"]].to_dict()
    return _row(claim, scope, _verdict(claim, found, n_seeds, scope), **numbers, details=details)


def _verdict(claim, found, n_seeds, scope):
    if n_seeds < _N_SEEDS:
        return f"{UNDECIDED}: {n_seeds} {'seed' if n_seeds == 1 else 'seeds'}"
    sure = found["p_adjusted"] < _ALPHA
    reversed_ = sure & (found["high"] < -claim.margin)
    verdict = UNDECIDED
    if (sure & (found["low"] > claim.margin)).all():
        verdict = SUPPORTED
    elif reversed_.groupby(found["part"]).all().any():
        verdict = CONTRADICTED
    return _SEEN[verdict] if scope == SYNTHETIC else verdict


def _in_words(metric, result):
    ends = span(result["low"], result["high"], "+")
    return f"{HEADINGS[metric]} {result['estimate']:+.1f} {ends}, p {result['p_adjusted']:.3f}"


def _row(claim, scope, verdict, **numbers):
    told = {name: getattr(claim, name) for name in ("id", "table", "where", "says", "basis")}
    unknown = dict.fromkeys(("estimate", "low", "high", "p_adjusted", "detectable"), np.nan)
    return {**told, "scope": scope, "verdict": verdict, "score": "", **unknown, "details": "", **numbers}


# --- all verdicts in one place ----------------------------------------------------------------------------


def gather(folder=REPORTS):
    """Verdicts on the printed numbers, and those that the records of the reports hold.

    Parameters
    ----------
    folder : Path
        Of the records, see `report.record`; of the presets `smoke` and `quick` they are passed over.

    Returns
    -------
    DataFrame
        As `decide`, with ``report``: the record's name, empty for the printed numbers.

    Raises
    ------
    ValueError
        If a record's verdicts lack a column or are about a claim that is not in ``paper/claims.yaml``.
    """
    parts = [decide_printed().assign(report="")]
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        rows = content.get("claims") if isinstance(content, dict) else None
        if rows and content.get("preset") not in _SIZES:
            recorded = _recorded(pd.DataFrame(rows), path, parts[0]).assign(report=path.stem)
            parts.append(recorded.assign(scope=recorded["scope"] + _dependence(content)))
    return pd.concat(parts, ignore_index=True)


def _dependence(record):
    """What a subject-dependent report's scope ends with: its verdicts answer another question."""
    chosen = {name: record.get("parameters", {}).get(name, "") for name in ("split", "macro_clips")}
    return ", subject-dependent" * is_subject_dependent(**chosen)


def _recorded(rows, path, printed):
    absent = [column for column in printed if column not in (*rows, "report")]
    if absent:
        raise ValueError(f"reports/{path.name}: the claims lack {absent[0]}; make the report again")
    unknown = sorted(set(rows["id"]) - set(printed["id"]))
    if unknown:
        raise ValueError(
            f"reports/{path.name}: claim {unknown[0]} is not in {CLAIMS.name}; make the report again"
        )
    numbers = ["estimate", "low", "high", "p_adjusted", "detectable"]  # None where unknown
    return rows.astype(dict.fromkeys(numbers, float))


def without_report(verdicts):
    """Which tables and figures have claims, but no study that tested them, as a sentence."""
    tested = set(verdicts.loc[verdicts["scope"] != PAPER, "table"])
    absent = [name for name in dict.fromkeys(verdicts["table"].sort_values()) if name not in tested]
    if not absent:
        return Markdown("Every table with claims has a study report.")
    return Markdown(f"No study report yet: {', '.join(map(_heading, absent))}.")


def record(verdicts):
    """Write all verdicts for the web page.

    Parameters
    ----------
    verdicts : DataFrame
        From `gather`.

    Returns
    -------
    str
        The file's path, see `hsta_lib.reporting.report.record`.
    """
    path = config.records_dir() / RECORD.name
    columns = ["id", "where", "says", "scope", "verdict", "table", "basis", "report"]
    write_whole(path, json.dumps(verdicts[columns].to_dict("records"), indent=1) + "\n")
    return config.shown_path(path)


def show(verdicts):
    """Verdicts for reading.

    Parameters
    ----------
    verdicts : DataFrame
        From `decide`, `decide_printed` or `gather`.

    Returns
    -------
    pandas.io.formats.style.Styler
        Differences are in points and above zero as claimed, the least of them for each score.
    """
    shown = pd.DataFrame(
        {
            "where": verdicts["where"],
            "claim": verdicts["says"] + verdicts["basis"].map({"sentence": "", "table": " *"}),
            "decided by": verdicts["scope"].replace({PAPER: "printed numbers"}),
            "verdict": verdicts["verdict"],
            "difference as claimed, points": verdicts["details"],
        }
    )
    caption = "* what the table is set out to show; no sentence is quoted for it"
    return shown.style.hide(axis="index").set_table_styles(LEFT).set_caption(caption)


def show_power(needed):
    """The table of `power` for reading."""
    shown = needed[["says", "comparisons"]].rename(columns={"says": "claim"})
    for metric in METRICS:
        values = needed[metric].map("{:.1f}".format)
        shown[f"{HEADINGS[metric]}, points"] = values.replace({"nan": "–", "inf": "none, too few subjects"})
    shown["not tested because"] = needed["reason"].str.removeprefix(f"{NOT_TESTED}: ")
    return shown.style.hide(axis="index").set_table_styles(LEFT)


def conclude(verdicts):
    """How many claims have which verdict, by what decides, and which claims those are.

    Parameters
    ----------
    verdicts : DataFrame
        From `decide`, `decide_printed` or `gather`.

    Returns
    -------
    IPython.display.Markdown
    """
    if verdicts.empty:
        return Markdown("No study has tested a claim yet.")
    lines = []
    for scope, rows in verdicts.groupby("scope", sort=False):
        lines.append(f"- {_SCOPES.get(scope, scope)}, {len(rows)} claims:")
        for kind, named in rows.groupby(rows["verdict"].str.split(":").str[0], sort=False):
            claims = ", ".join(f"`{name}`" for name in named["id"])
            lines.append(f"  - **{kind}** ({len(named)}): {claims}.")
    if (verdicts["scope"] == PAPER).any():
        lines.append(
            "- The printed numbers have no intervals: *supported* by them means that they are as claimed in "
            "every score, *undecided* in some, not that this is more than chance."
        )
    if (verdicts["scope"] == SYNTHETIC).any():
        lines.append("- A pattern on synthetic faces neither supports nor contradicts the paper.")
    return Markdown("\n".join(lines))


def _heading(name):
    """``table4`` as a reader writes it: Table 4."""
    return f"{name[:-1].capitalize()} {name[-1]}"
