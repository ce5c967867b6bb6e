"""The paper's claims on data, and all verdicts in one place. No torch.

``paper/claims.yaml`` names the tests before any run, see `hsta_lib.paper_check.claims`. A verdict has a
scope: ``paper``, arithmetic on the printed numbers; ``code``, what the authors released (no report here is
about it, but one may be); ``real:<dataset>``, clips of a real dataset; ``real motion``, published pictures of
flow, or ``synthetic``: there a pattern is seen or not, for the paper's video branch sees real frames.
"""

import json

import numpy as np
import pandas as pd
from IPython.display import Markdown

from hsta_lib import ROOT, config
from hsta_lib.data.splits import is_subject_dependent
from hsta_lib.evaluation.comparisons import compare, detectable
from hsta_lib.evaluation.fitted import FITTED, NO_PIXELS, NOT_FITTED
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.files import write_whole
from hsta_lib.paper import ROW_NAMES, title_of
from hsta_lib.paper_check.claims import (
    CLAIMS,
    CONTRADICTED,
    NUMBERS,
    PAPER,
    QUOTED,
    READING,
    SUPPORTED,
    UNDECIDED,
    UNPRINTED,
    all_claims,
    alternatives,
    decide_printed,
    load_changes,
    printed_rows,
    told,
    verdict_row,
)
from hsta_lib.reporting.tables import (
    HEADINGS,
    LEFT,
    LEVEL,
    N_SEEDS,
    counted,
    format_p,
    number,
    row_name,
    span,
)
from hsta_lib.study import design

REPORTS = ROOT / "reports"
RECORD = REPORTS / "claims.json"
SYNTHETIC = "synthetic"
NOT_TESTED, OUT_OF_DATE = "not tested", "out of date"
REAL_MOTION = "real motion"
# Where a pattern can be seen, which is no verdict on the paper.
_PLACES = {SYNTHETIC: "on the synthetic benchmark", REAL_MOTION: "in real motion"}
_SEEN = {SUPPORTED: "pattern seen", CONTRADICTED: "reverse seen", UNDECIDED: "not seen"}
_BLIND = " (only above networks that read no pixels)"  # said of a pattern: any network that learns has it
_ROUNDING = 1e-9
# Columns that do not tell rows apart. Table 7's ticks for special frames follow from those for flow, and one
# is missing.
_NO_KEYS = (*METRICS, *ROW_NAMES, "year", "method_source", "special_frames", "place")
_SCOPES = {
    PAPER: "By the printed numbers alone",
    SYNTHETIC: "On the synthetic benchmark",
    REAL_MOTION: "In real motion, published pictures of flow",
}
_BETWEEN = "; (?=(?:ACC|UAR|UF1) )| (?=In its favour)"  # scores in the details of a verdict
_SIZES = ("smoke", "quick")  # presets too small for a verdict
_FIT_UNKNOWN = "how the rows fit was not stored"
_FIT_LACKS = {FITTED: "", NO_PIXELS: "", NOT_FITTED: NOT_FITTED}


# --- the rows and comparisons of a claim ------------------------------------------------------------------


def _matched(name, table, matrices):
    """The paper's rows with their ``place`` in our table, and what makes one no use, ``lacks``."""
    printed = printed_rows(name).drop(columns="place")
    table = table.rename(columns={"system": "method"} if "method" in printed else {})
    if "csta" in printed and "csta" not in table:
        table = table.assign(csta=True)
    keys = [column for column in printed if column not in _NO_KEYS]
    if not set(keys) <= set(table):
        return printed.assign(place=np.nan, lacks="rows missing", named="", is_blind=False)
    ours = table[keys].infer_objects().assign(place=range(len(table)), counts=[m.tobytes() for m in matrices])
    ours["lacks"] = np.where([np.isnan(cell).any() for cell in matrices], "rows without counts", "")
    named = ["row"] if "row" in table else keys
    ours["named"] = [row_name(row) for row in table[named].to_dict("records")]
    ours["is_blind"] = table["fit"] == NO_PIXELS if "fit" in table else False
    if "fit" in table:  # none does before its networks are trained
        lacks = np.array([_FIT_LACKS.get(kind, _FIT_UNKNOWN) for kind in table["fit"]])
        ours["lacks"] = np.where(lacks == "", ours["lacks"], lacks)
    several = ours.groupby(keys)["counts"].transform("nunique") > 1
    ours["lacks"] = ours["lacks"].mask(several, "several rows have the same setting")
    ours = ours.drop(columns="counts").drop_duplicates(keys)
    found = ours if name == UNPRINTED else printed.merge(ours, on=keys, how="left")
    return found.assign(lacks=found["lacks"].fillna("rows missing"))


def _selected(rule, rows):
    """All rows that a rule is about."""
    return pd.concat([rows.query(query) for query in (rule.rows, rule.against) if query])


def _unfit(rows):
    """Names of those that did not fit, in one text."""
    return "; ".join(rows.loc[rows["lacks"] == NOT_FITTED, "named"].unique())


def _only_above_blind(rule, rows):
    """Whether all that a rule's rows are to be above reads no pixels."""
    against = rows.query(rule.against) if rule.against else rows[:0]
    return bool(len(against)) and bool(against["is_blind"].eq(True).all())


def _options(claim, rows, block):
    """The claim's alternatives, or why there are none: rows that are missing or not of the same clips.

    Opponents that did not fit are left out: one that fitted may contradict the claim without them.
    """
    rule = claim.test
    if rule.kind in ("gain", "not_printed"):
        return f"{NOT_TESTED}: decided on the printed numbers alone"
    selected = _selected(rule, rows)
    reasons = selected.loc[~selected["lacks"].isin(["", NOT_FITTED]), "lacks"]
    if len(reasons):
        return f"{NOT_TESTED}: {reasons.iloc[0]}"
    has_opponents = rule.kind in ("above", "best") and not _unfit(rows.query(rule.rows))
    if _unfit(selected) and not has_opponents:
        return f"{NOT_FITTED}: {_unfit(selected)}"
    fitted = rows[rows["lacks"] != NOT_FITTED]
    try:
        options = alternatives(rule, fitted.assign(place=fitted["place"].astype("Int64")))
    except ValueError:  # all opponents are unfit; or of Figure 3, whose rows are those of the study
        return f"{NOT_FITTED}: {_unfit(selected)}" if _unfit(selected) else f"{NOT_TESTED}: rows missing"
    compared = [(*part.comparison.first, *part.comparison.second) for parts in options for part in parts]
    if any(len(set(block[list(places)])) > 1 for places in compared):
        return f"{NOT_TESTED}: the rows are not of the same clips and labels"
    return options


# --- verdicts on data -------------------------------------------------------------------------------------


def power(study, cells, *datasets):
    """What differences the tests of a table's claims find, by its design alone: before anything is trained.

    In words, see `hsta_lib.study.design.told`; claims that these rows cannot test are named.

    Parameters
    ----------
    cells : DataFrame
        The rows that are to be trained, with the settings' columns of the printed table.
    *datasets : hsta_lib.data.dataset.Dataset
        Of each row, or one of all.
    """
    trainings = {id(dataset): design.assumed(dataset) for dataset in datasets}
    assumed = [trainings[id(dataset)] for dataset in datasets] * (len(cells) if len(datasets) == 1 else 1)
    claims, found, parts, _ = _families(study.name, cells, [of_cell[:1] for of_cell in assumed])
    families = [
        (assumed[family["comparison"].iloc[0].first[0]], list(family["comparison"]))
        for _, family in parts.groupby("block")
    ]
    untested = {claim.id: found[claim.id] for claim in claims if isinstance(found[claim.id], str)}
    about = f"{counted(len(claims) - len(untested), 'claim')}, "
    told = design.told(study, datasets[0], families, about)
    for reason in dict.fromkeys(untested.values()):
        names = ", ".join(f"`{name}`" for name, why in untested.items() if why == reason)
        told += f" {reason[0].upper()}{reason[1:]}: {names}."
    return Markdown(told)


def decide(name, table, matrices, scope):
    """Verdicts of the claims that are about one table.

    All comparisons of the table's claims are one family, corrected together (see `comparisons.compare`). What
    must be above is above for sure: its corrected interval lies above zero. What must not be below is not
    below in the scores seen. A claim is supported if that is so of all its comparisons in
    every metric it names; contradicted if one of them is reversed for sure in every metric; else undecided.
    Where the claim leaves open which row it is about, one such row supports it, and all must be contradicted.

    Parameters
    ----------
    name : str
        ``table1`` to ``table7`` or ``figure3``.
    table : DataFrame
        Our cells, with the settings' columns of the printed table; its method may be called ``system``.
    matrices : sequence of array_like, shape (n_seeds, n_subjects, n_classes, n_classes)
        One of each cell, or a dict of such sequences, one after the other. Cells of other clips or labels
        than the others (Tables 5 to 7) are a family of their own; p values are multiplied by the number of
        families. Of rows that name what they are trained on, those of the union count.
    scope : str
        ``synthetic``, ``real motion``, ``code`` or ``real:<dataset>``.

    Returns
    -------
    DataFrame
        One row per claim, see `hsta_lib.paper_check.claims.verdict_row`: of the comparison and metric that
        favours the claim least ``score, estimate, low, high, p_adjusted, detectable``, in points, above
        zero as claimed; ``details``: the same for each metric, in words. On the synthetic benchmark a verdict
        says whether the pattern is seen there, and whether only above networks that read no pixels. Fewer
        than five seeds decide nothing. Rows that are missing, that occur twice or that have no counts (NaN)
        test nothing. A claim about a row that did not fit (by the table's column ``fit``) is *not fitted*;
        where that was not stored, it is not tested.

    Raises
    ------
    ValueError
        If the scope is another or no claim is about the table, or as `comparisons.compare`.
    """
    if scope not in (*_PLACES, "code") and not (scope.startswith("real:") and scope != "real:"):
        raise ValueError(f"scope = {scope!r} must be {', '.join(_PLACES)}, code or real:<dataset>")
    claims, tested = _tested(name, table if "fit" in table else table.assign(fit=""), matrices)
    n_seeds = min(len(cell) for cell in _on_all_clips(table, matrices)[1])
    return pd.DataFrame([_decide(claim, tested[claim.id], n_seeds, scope) for claim in claims])


def _tested(name, table, matrices):
    """The table's claims, and by id the results of their comparisons, or why there are none."""
    claims, found, parts, matrices = _families(name, table, matrices)
    families = [_results(matrices, family, parts["block"].nunique()) for _, family in parts.groupby("block")]
    results = pd.concat(families, ignore_index=True) if families else pd.DataFrame(columns=["id"])
    for claim in claims:
        if not isinstance(found[claim.id], str):
            of_claim = results[(results["id"] == claim.id) & results["score"].isin(claim.metrics)]
            found[claim.id] = of_claim.reset_index(drop=True)
    return claims, found


def _families(name, table, matrices):
    """The table's claims, by id their alternatives or why there are none, all comparisons, the counts."""
    claims = [claim for claim in all_claims() if claim.table == name]
    if not claims:
        raise ValueError(f"no claim is about {name!r}; see paper/{CLAIMS.name}")
    table, matrices = _on_all_clips(table, matrices)
    if len(matrices) != len(table):
        raise ValueError(f"matrices of {len(matrices)} cells, but the table has {len(table)} rows")
    matrices = [np.asarray(cell, dtype=float) for cell in matrices]
    block = _blocks(matrices)
    rows = _matched(name, table, matrices)
    found = {claim.id: _options(claim, rows, block) for claim in claims}
    tested = [claim for claim in claims if not isinstance(found[claim.id], str)]
    parts = [
        (claim.id, option, number, *part[:2], told(part, found[claim.id]), block[part.comparison.first[0]])
        for claim in tested
        for option, of_option in enumerate(found[claim.id])
        for number, part in enumerate(of_option)
    ]
    columns = ["id", "option", "part", "comparison", "strict", "rows", "block"]
    unfit = {claim.id: _unfit(_selected(claim.test, rows)) for claim in tested}
    blind = {claim.id: _only_above_blind(claim.test, rows) for claim in tested}
    parts = pd.DataFrame(parts, columns=columns)
    parts = parts.assign(unfit=parts["id"].map(unfit), only_above_blind=parts["id"].map(blind))
    return claims, found, parts, matrices


def _on_all_clips(table, matrices):
    """Rows and their counts one by one: by the last epoch, and trained on the union where some are."""
    if isinstance(matrices, dict):
        matrices = [cell for cells in matrices.values() for cell in cells]
    trained = table["train_on"] if "train_on" in table else pd.Series("", index=table.index)
    if len(matrices) != len(table):
        return table, matrices
    honest = ~trained.str.contains("best epoch")  # see `published.SHORTCUT`
    kept = np.flatnonzero(trained == "composite" if "composite" in set(trained) else honest)
    return table.iloc[kept].reset_index(drop=True), [matrices[row] for row in kept]


def _blocks(matrices):
    """Number of the group of cells with the same clips and classes, for each cell; without counts, apart."""
    clips = [(cell.shape[1:], cell[0].sum(axis=-1).tobytes(), np.isnan(cell).any()) for cell in matrices]
    return np.array([clips.index(of_cell) for of_cell in clips])


def _results(matrices, family, n_families):
    """Rows of a family with the results of each score, in points; p and power of all families together."""
    chosen = sorted({place for one in family["comparison"] for place in (*one.first, *one.second)})
    cells = np.stack([matrices[place] for place in chosen])
    compared = [_within(one, chosen) for one in family["comparison"]]
    found = compare(cells, compared, LEVEL / n_families)
    columns = {"detectable": detectable(cells, compared, LEVEL / n_families)}
    columns |= {"estimate": found.estimate, "low": found.low, "high": found.high}
    adjusted = np.minimum(n_families * found.p_adjusted, 1)
    frames = [
        family.assign(
            score=metric,
            **{name: 100 * values[:, i] for name, values in columns.items()},
            p_adjusted=adjusted[:, i],
        )
        for i, metric in enumerate(METRICS)
    ]
    return pd.concat(frames)


def _within(one, chosen):
    """The same comparison with settings counted among the chosen ones."""
    first, second = (tuple(np.searchsorted(chosen, group).tolist()) for group in (one.first, one.second))
    return one._replace(first=first, second=second)


def _decide(claim, found, n_seeds, scope):
    if isinstance(found, str):
        return verdict_row(claim, scope, found)
    strict = found["strict"].astype(bool)
    is_so = found["estimate"] >= -_ROUNDING
    found = found.assign(
        holds=np.where(strict, found["low"] > 0, is_so),
        reversed=found["high"] < 0,
        # For or against the claim, and how surely: from -1 to 1. What only must not be below comes last; a
        # p below a millionth counts as 0, so that of what is sure the smallest difference is named.
        sureness=np.where(~strict & is_so, 2, np.sign(found["estimate"]) * (1 - found["p_adjusted"])).round(
            6
        ),
    )
    least = pd.DataFrame([_least(of_score) for _, of_score in found.groupby("score", sort=False)])
    least = least.set_index("score", drop=False).loc[claim.metrics]
    details = "; ".join(_in_words(row) for row in least.to_dict("records"))
    first = least.sort_values(["sureness", "estimate"], kind="stable").iloc[0]
    numbers = first[["score", *NUMBERS]].to_dict()
    verdict, unfit = _verdict(found, n_seeds), found["unfit"].iloc[0]
    if unfit and verdict != CONTRADICTED:
        return verdict_row(claim, scope, f"{NOT_FITTED}: {unfit}")
    is_seen = verdict in _SEEN and scope in _PLACES
    is_blind = verdict == SUPPORTED and found["only_above_blind"].iloc[0]
    told = f"{_SEEN[verdict]}{_BLIND * bool(is_blind)} {_PLACES[scope]}" if is_seen else verdict
    return verdict_row(claim, scope, told, **numbers, details=details)


def _least(of_score):
    """The least favourable comparison of one score, of the alternative that favours the claim most."""
    ordered = of_score.sort_values(["sureness", "estimate"], kind="stable").drop_duplicates("option")
    return ordered.iloc[-1]


def _verdict(found, n_seeds):
    if n_seeds < N_SEEDS:
        return f"{UNDECIDED}: {counted(n_seeds, 'seed')}, a verdict needs {N_SEEDS}"
    verdict = UNDECIDED
    by_option = found.groupby(["score", "option"])["holds"].all()
    in_all_scores = found.groupby(["option", "part"], sort=False)["reversed"].all()
    if by_option.groupby("score").any().all():
        verdict = SUPPORTED
    elif in_all_scores.groupby("option").any().all():
        verdict = CONTRADICTED
    return verdict


def _in_words(result):
    ends, p = span(result["low"], result["high"], "+"), f"p {format_p(result['p_adjusted'])}"
    return f"{HEADINGS[result['score']]} {result['estimate']:+.1f} {ends}, {p}{result['rows']}"


# --- all verdicts in one place ----------------------------------------------------------------------------


def gather(folder=REPORTS):
    """Verdicts on the printed numbers, and those that the records of the reports hold.

    As `decide`, with ``report``: the record's name, empty for the printed numbers. A verdict by another test
    of its claim than the present one is *out of date*; of a withdrawn claim there is none. ``folder``: of the
    records, see `records.write`; of the presets `smoke` and `quick` they are passed over.

    Raises
    ------
    ValueError
        If a record's verdicts lack a column or are about a claim that ``paper/claims.yaml`` does not know.
    """
    parts = [decide_printed().assign(report="")]
    for path in sorted(folder.glob("*.json")):
        content = _record(path)
        if content.get("claims"):
            recorded = _recorded(pd.DataFrame(content["claims"]), path).assign(report=path.stem)
            parts.append(recorded.assign(scope=recorded["scope"] + _dependence(content)))
    return pd.concat(parts, ignore_index=True)


def _record(path):
    """A report's record; nothing of other files and of presets too small for a verdict."""
    content = json.loads(path.read_text())
    is_record = isinstance(content, dict) and content.get("preset") not in _SIZES
    return content if is_record else {}


def _dependence(record):
    """What a subject-dependent report's scope ends with: its verdicts answer another question."""
    chosen = {name: record.get("parameters", {}).get(name, "") for name in ("split", "macro_clips")}
    return ", subject-dependent" * is_subject_dependent(**chosen)


def _recorded(rows, path):
    """A record's verdicts with the claims as they are now, those by an earlier test without their numbers."""
    absent = [name for name in ("id", "scope", "verdict", "details", *NUMBERS) if name not in rows]
    if absent:
        raise ValueError(f"reports/{path.name}: the claims lack {absent[0]}; make the report again")
    known = {claim.id: claim for claim in all_claims()}
    unknown = set(rows["id"]) - set(known) - {name for edit in load_changes() for name in edit.claims}
    if unknown:
        raise ValueError(
            f"reports/{path.name}: claim {min(unknown)} is not in {CLAIMS.name}; make the report again"
        )
    found = []
    for row in rows.to_dict("records"):
        if claim := known.get(row["id"]):
            late = row.get("test") != claim.digest
            verdict = f"{OUT_OF_DATE}: by an earlier test, the report must be made again" if late else ""
            numbers = {} if late else {name: row[name] for name in ("score", "details", *NUMBERS)}
            found.append(verdict_row(claim, row["scope"], verdict or row["verdict"], **numbers))
    return pd.DataFrame(found).astype(dict.fromkeys(NUMBERS, float))  # None where unknown


def without_report(verdicts, folder=REPORTS):
    """Which tables and figures have claims, but no verdict on data, and what is lacking for it.

    ``verdicts``: from `gather`; ``folder``: of the records, which tell the reports and their seeds.
    """
    tested = set(verdicts.loc[verdicts["scope"] != PAPER, "table"])
    absent = [name for name in dict.fromkeys(verdicts["table"].sort_values()) if name not in tested]
    if not absent:
        return Markdown("Every table with claims has a study report.")
    seeds = {}
    for path in sorted(folder.glob("*.json")):
        content = _record(path)
        if content.get("report") in absent:
            seeds.setdefault(content["report"], len(content["seeds"]))
    told = [f"{title_of(name)} ({_lacking(seeds.get(name))})" for name in absent]
    return Markdown(f"No verdict on data yet: {', '.join(told)}.")


def _lacking(n_seeds):
    if n_seeds is None:
        return "no report"
    if n_seeds < N_SEEDS:
        return f"its report has {counted(n_seeds, 'seed')}, a verdict needs {N_SEEDS}"
    return "its report decides none"


def record(verdicts):
    """Write all verdicts, from `gather`, for the web page; see `hsta_lib.reporting.records.write`."""
    path = config.records_dir() / RECORD.name
    columns = ["id", "where", "quote", "says", "scope", "verdict", "table", "basis", "report"]
    write_whole(path, json.dumps(verdicts[columns].to_dict("records"), indent=1, ensure_ascii=False) + "\n")
    return config.shown_path(path)


def show(verdicts):
    """Verdicts for reading; a caption says what a star means, if there is one.

    Differences are in points and above zero as claimed, the least of them for each score. ``verdicts``: from
    `decide`, `decide_printed` or `gather`.
    """
    quoted = verdicts["basis"] == QUOTED
    shown = pd.DataFrame(
        {
            "where": verdicts["where"] + "<br>" + verdicts["id"],
            "claim": verdicts["says"] + np.where(quoted, ": “" + verdicts["quote"] + "”", " *"),
            "decided by": verdicts["scope"].replace({PAPER: "printed numbers"}),
            "verdict": verdicts["verdict"],
            "difference as claimed, points": verdicts["details"].str.replace(_BETWEEN, "<br>", regex=True),
        }
    )
    styler = shown.style.hide(axis="index").set_table_styles(LEFT)
    styler = styler.set_properties(subset=["claim"], **{"min-width": "14em"})
    caption = "* our own reading or rewording: no sentence of the paper is quoted for it"
    return styler if quoted.all() else styler.set_caption(caption)


def answer(verdicts):
    """What became of a table's claims, by verdict: each in its words, with the effect that favours it least.

    ``verdicts``: from `decide`.
    """
    lines, counts = [], verdicts["verdict"].map(kind_of).value_counts(sort=False)
    if len(verdicts) > 1:
        kinds = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        lines.append(f"- **Of {len(verdicts)} claims: {kinds}.**")
    for kind, rows in verdicts.groupby(verdicts["verdict"].str.split(":").str[0], sort=False):
        told = "; ".join(row["says"] + _effect(row) for row in rows.to_dict("records"))
        lines.append(f"- **{kind[0].upper()}{kind[1:]}**, {counted(len(rows), 'claim')}: {told}.")
    if verdicts["estimate"].notna().any():
        lines.append(
            "- In brackets: of the comparisons that a claim makes, the one that favours it least. Above zero "
            "agrees with the claim."
        )
    return Markdown("\n".join(lines))


def _effect(row):
    """The comparison of a verdict in brackets, above zero as claimed; or why there is none."""
    if row["estimate"] is None or np.isnan(row["estimate"]):
        reason = row["verdict"].partition(": ")[2]
        return f" ({reason})" * bool(reason)
    ends = span(row["low"], row["high"], "+")
    return f" ({HEADINGS[row['score']]} {number(row['estimate'], '+')} points {ends})"


def kind_of(verdict):
    """A verdict without its reason and without the place where a pattern was seen."""
    kind = verdict.partition(":")[0]
    for place in _PLACES.values():
        kind = kind.removesuffix(f" {place}")
    return kind


def count(verdicts):
    """How many claims have which verdict, a line for each scope. ``verdicts``: from `gather`."""
    lines = []
    for scope, rows in verdicts.groupby("scope", sort=False):
        kinds = rows["verdict"].map(kind_of)
        told = ", ".join(f"{n} {kind}" for kind, n in kinds.value_counts().items())
        lines.append(f"- **{_SCOPES.get(scope, scope)}**, {counted(len(rows), 'claim')}: {told}.")
        for kind, named in rows.groupby(kinds, sort=False):
            if kind.startswith(("contradicted", "pattern", "reverse")):
                told = [f"{title_of(row['table'])}, {row['says']}" for row in named.to_dict("records")]
                lines.append(f"  - *{kind}*: {'; '.join(told)}.")
    return Markdown("\n".join(lines))


def conclude(verdicts):
    """How many claims have which verdict, by what decides, and which claims those are.

    Claims that are our own reading are counted apart from those that are quoted. ``verdicts``: as for `show`.
    """
    if verdicts.empty:
        return Markdown("No study has tested a claim yet.")
    lines = []
    for (scope, basis), rows in verdicts.groupby(["scope", "basis"], sort=False):
        which = {QUOTED: " that {} quoted", READING: " by our own reading"}[basis]
        which = which.format("is" if len(rows) == 1 else "are")
        lines.append(f"- {_SCOPES.get(scope, scope)}, {counted(len(rows), 'claim')}{which}:")
        for kind, named in rows.groupby(rows["verdict"].str.split(":").str[0], sort=False):
            lines.append(f"  - **{kind}** ({len(named)}): {'; '.join(named['says'])}.")
    scopes = set(verdicts["scope"])
    if PAPER in scopes:
        lines.append(
            "- By the printed numbers, *supported*: every score is as claimed; *undecided*: some, or nothing "
            "printed decides; *contradicted*: none. Chance is not considered: they have no intervals."
        )
    if scopes - {PAPER, *_PLACES}:
        lines.append(
            "- On data, *supported*: every score is as claimed, by more than chance; *contradicted*: every "
            "score is the reverse, by more than chance; *undecided*: neither."
        )
    if SYNTHETIC in scopes:
        lines.append("- A pattern on synthetic faces neither supports nor contradicts the paper.")
    if REAL_MOTION in scopes:
        lines.append(
            "- A pattern in real motion neither supports nor contradicts the paper, whose video branch sees "
            "frames."
        )
    return Markdown("\n".join(lines))
