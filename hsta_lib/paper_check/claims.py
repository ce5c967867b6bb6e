"""The paper's claims, each with the test of what its words say, and what the printed numbers say. No torch.

A test consists of parts, which compare rows of a table two by two; see `alternatives`. The printed numbers
are held against them here, predictions in `hsta_lib.study.claims`.
"""

import functools
import hashlib
import itertools
import json
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import Field, field_validator, model_validator

from hsta_lib import paper
from hsta_lib.config import Group, validated
from hsta_lib.evaluation.comparisons import Comparison, group_means, pair
from hsta_lib.evaluation.metrics import METRICS
from hsta_lib.paper import GRID_TABLES, load_table, printed_cells, table_names

CLAIMS = Path(paper.__file__).with_name("claims.yaml")
PAPER = "paper"  # the scope of verdicts on printed numbers
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
QUOTED, READING = "quoted", "our reading"
UNPRINTED = "figure3"  # a picture: its rows are those of the study
NUMBERS = ("estimate", "low", "high", "p_adjusted", "detectable")
# Raise it when the test of a kind, or the intervals and p values that it uses, decide otherwise than before:
# verdicts that reports hold are then out of date.
RULES = 2
_NAMED_BY = (("setting",), ("method",), ("branch", "n_layers"), ("m", "l_v", "l_s"))  # columns, for reading
_COUNTED = {"n_layers": "layer", "n_frames": "frame"}
_WORDS = 15  # of a quotation, at most
_HALF_A_POINT = 0.5
_ROUNDING = 1e-9

_NEEDS = {
    "above": ("rows", "against"),
    "mean_above": ("rows", "against"),
    "best": ("rows", "against"),
    "rises": ("rows", "order"),
    "falls": ("rows", "order"),
    "peak": ("rows", "order"),
    "gain": ("rows", "against", "size"),
    "not_printed": (),
}


class Rule(Group):
    """The test of a claim: which rows of the table, and what must hold of them."""

    kind: Literal["above", "mean_above", "best", "rises", "falls", "peak", "gain", "not_printed"]
    rows: str = ""
    against: str = ""
    within: str = ""
    order: str = ""
    at: float | None = None
    continuous: bool = False
    size: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self):
        for name in _NEEDS[self.kind]:
            if getattr(self, name) in ("", None):
                raise ValueError(f"kind {self.kind} needs {name}")
        return self


class Claim(Group):
    """One claim of the paper; see the head of ``paper/claims.yaml``."""

    id: str = Field(pattern="^[a-z0-9-]+$")
    where: str = Field(min_length=1)
    quote: str = ""
    says: str = Field(min_length=1)
    table: str
    metrics: list[Literal["acc", "uar", "uf1"]] = Field(min_length=1)
    innocent: str = ""
    test: Rule

    @field_validator("quote")
    @classmethod
    def _is_short(cls, quote):
        if len(quote.split()) > _WORDS:
            raise ValueError(f"{len(quote.split())} words; quote {_WORDS} at most")
        return quote

    @model_validator(mode="after")
    def _is_quoted_from_a_section(self):
        if self.quote and not self.is_stated:
            raise ValueError(f"where = {self.where!r} must begin with the section that the quotation is from")
        return self

    @property
    def basis(self):
        """Whether a sentence of the paper is quoted, or the claim is our own reading of it."""
        return QUOTED if self.quote else READING

    @property
    def is_stated(self):
        """Whether the text of the paper says so, and not only a table or figure."""
        return self.where.startswith("abstract") or self.where[:1].isdigit()

    @property
    def digest(self):
        """What decides the claim, as a short hash: a verdict by another test has another."""
        told = self.model_dump(include={"table", "metrics", "test"}) | {"rules": RULES}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


class Change(Group):
    """An edit of ``paper/claims.yaml`` after the first study."""

    date: date
    claims: list[str] = Field(min_length=1)
    change: Literal["added", "withdrawn", "restated", "new test", "new place"]
    reason: str = Field(min_length=1)


class Part(NamedTuple):
    """A comparison of rows: its difference must be above zero or, if not ``strict``, must not be below.

    ``rows`` names them, the one that is to score more first.
    """

    comparison: Comparison
    strict: bool
    rows: str


def load_claims(path=CLAIMS):
    """The claims, each checked: its fields, its id, and that its queries select rows of its table."""
    claims = []
    for number, values in enumerate(_content(path)["claims"], start=1):
        known = isinstance(values, dict) and "id" in values
        source = f"{path.name}: claim {values['id'] if known else number}"
        claim = validated(Claim, values, source)
        if claim.id in [other.id for other in claims]:
            raise ValueError(f"{source}: this id occurs twice")
        _check_rows(claim, source)
        claims.append(claim)
    return claims


def load_changes(path=CLAIMS):
    """The edits of the file since the first study, in order of time.

    Raises
    ------
    ValueError
        Naming the edit, if a field is missing, unknown or not allowed.
    """
    edits = enumerate(_content(path)["changes"], start=1)
    return [validated(Change, values, f"{path.name}: change {number}") for number, values in edits]


def _content(path):
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is no YAML file: {error}") from error
    if not isinstance(content, dict) or set(content) != {"claims", "changes"}:
        raise ValueError(f"{path.name}: must hold claims and changes, and nothing else")
    return content


def _check_rows(claim, source):
    if claim.table not in (*table_names(), UNPRINTED):
        raise ValueError(f"{source}: table = {claim.table!r} is none of the paper's")
    if claim.table == UNPRINTED or not claim.test.rows:
        return
    rows = printed_rows(claim.table)
    absent = [metric for metric in claim.metrics if metric not in rows]
    if absent:
        raise ValueError(f"{source}: {claim.table} has no {absent[0]}")
    try:
        for query in filter(None, (claim.test.rows, claim.test.against)):
            if rows.query(query).empty:
                raise ValueError(f"{query!r} selects no row of {claim.table}")
        alternatives(claim.test, rows)
    except (NameError, SyntaxError, KeyError, TypeError, ValueError) as error:  # of queries, see pandas
        raise ValueError(f"{source}: {error}") from error


all_claims = functools.cache(load_claims)  # selecting all rows once more takes longer than most tests


def printed_rows(name):
    """Printed rows of a table with the settings they stand for, counted by ``place``; of Figure 3 none."""
    if name == UNPRINTED:
        return pd.DataFrame({"n_frames": [], "place": []})
    table = load_table(name)
    if name in GRID_TABLES:
        cells = printed_cells(name)
        cells = cells if "csta" in cells else cells.assign(csta=True)
        table = cells.assign(**{metric: table.get(metric, float("nan")) for metric in METRICS})
    return table.assign(place=range(len(table)))


# --- what must hold ---------------------------------------------------------------------------------------


def alternatives(rule, rows):
    """What must hold of the rows: all parts of one of the alternatives.

    Parameters
    ----------
    rule : Rule
        Of any kind but ``not_printed``.
    rows : DataFrame
        Of the table, with ``place``: the position of each row's scores, by which parts name it.

    Returns
    -------
    list of list of Part
        Several if the claim leaves open which row it is about: the best of some, a peak that is not named.

    Raises
    ------
    ValueError
        If the rows do not fit the kind of the rule: a trend needs two, a peak a row on either side.
    """
    names = _names(rule, rows)
    if rule.kind in ("rises", "falls"):
        return [_steps(rule, _places(rows, rule.rows, rule.order), names)]
    if rule.kind == "peak":
        named = _places(rows, f"({rule.rows}) and {rule.order} == {rule.at}") if rule.at is not None else None
        return _peaks(_places(rows, rule.rows, rule.order), named, names)
    groups = [group for _, group in rows.groupby(rows.eval(rule.within))] if rule.within else [rows]
    sides = [(_places(group, rule.rows), _places(group, rule.against)) for group in groups]
    sides = [both for both in sides if any(both)]
    if not all(chosen and against for chosen, against in sides):
        raise ValueError(f"within {rule.within!r} some rows have none to be compared with")
    if rule.kind == "mean_above":
        return [[_part(group_means(against, chosen), names) for chosen, against in sides]]
    by_row = [
        [_part(pair(other, one), names) for other in against] for chosen, against in sides for one in chosen
    ]
    return by_row if rule.kind == "best" else [list(itertools.chain(*by_row))]


def _places(rows, query, order=""):
    chosen = rows.query(query)
    chosen = chosen.sort_values(order, kind="stable") if order else chosen
    return list(dict.fromkeys(chosen["place"]))


def _steps(rule, places, names):
    if len(places) < 2:
        raise ValueError(f"{rule.rows!r} selects {len(places)} rows; a trend needs two")
    places = places if rule.kind == "rises" else places[::-1]
    ends = _part(pair(places[0], places[-1]), names)
    steps = itertools.pairwise(places) if rule.continuous else ()
    return [ends, *(_part(pair(*step), names, strict=False) for step in steps)]


def _peaks(places, named, names):
    """The peak, the named row or any inner one, is above both ends and not below any other row."""
    inner, ends = places[1:-1], places[:1] + places[-1:]
    tops = inner if named is None else named
    if not tops or not set(tops) <= set(inner):
        raise ValueError("a peak must be one of the rows, neither the first nor the last")
    return [
        [_part(pair(other, top), names, strict=other in ends) for other in places if other != top]
        for top in tops
    ]


def _part(comparison, names, strict=True):
    first, second = (
        " and ".join(dict.fromkeys(names[place] for place in group))
        for group in (comparison.first, comparison.second)
    )
    return Part(comparison, strict, f"{second} over {first}" if first else "")


def _names(rule, rows):
    """Rows by place as a reader of the table names them; nothing where it has no names for them."""
    columns = next(filter(set(rows).issuperset, [(rule.order,), *_NAMED_BY]), ())
    told = [" ".join(map(_name, columns, row)) for row in zip(*(rows[name] for name in columns), strict=True)]
    return dict(zip(rows["place"], told or [""] * len(rows), strict=True))


def _name(column, value):
    if isinstance(value, str):
        return value
    noun = _COUNTED.get(column)
    return f"{value:g} {noun}{'s' * (value != 1)}" if noun else f"{column}={value:g}"


# --- verdicts on the printed numbers ----------------------------------------------------------------------


def decide_printed():
    """Verdicts of all claims by arithmetic on the printed numbers.

    One row per claim, see `verdict_row`: *supported* if what it says is so in all scores that it names,
    *contradicted* if in none, else *undecided*. No chance enters, so there are no intervals.
    """
    return pd.DataFrame([_decide_printed(claim) for claim in all_claims()])


def verdict_row(claim, scope, verdict, **found):
    """A verdict as tables of verdicts hold it.

    It has ``id, table, where, quote, says, basis`` of the claim, ``test``, its digest, and what is ``found``:
    ``score, estimate, low, high, p_adjusted, detectable`` and ``details``, where they are known.
    """
    told = {name: getattr(claim, name) for name in ("id", "table", "where", "quote", "says", "basis")}
    unknown = {"score": "", **dict.fromkeys(NUMBERS, np.nan), "details": ""}
    return {**told, "test": claim.digest, "scope": scope, "verdict": verdict, **unknown, **found}


def _decide_printed(claim):
    favour = f" In its favour: {claim.innocent}." if claim.innocent else ""
    if claim.table == UNPRINTED or not claim.test.rows:
        reason = "printed as a picture, without values" * (claim.table == UNPRINTED)
        verdict = f"{UNDECIDED}: {reason or 'nothing that is printed decides'}"
        return verdict_row(claim, PAPER, verdict, details=favour.strip())
    rows = printed_rows(claim.table)
    options = alternatives(claim.test, rows)
    found = {metric: _printed_score(claim.test, options, rows[metric].to_numpy()) for metric in claim.metrics}
    held = [holds for holds, *_ in found.values()]
    verdict = SUPPORTED if all(held) else UNDECIDED if any(held) else CONTRADICTED
    if np.isnan([value for _, value, _ in found.values()]).any():
        verdict = f"{UNDECIDED}: a score is missing"
    details = "; ".join(
        f"{metric.upper()} {value:+.1f} ({_so(holds, value)}{told(part, options)})"
        for metric, (holds, value, part) in found.items()
    )
    details += favour * (verdict != SUPPORTED)
    score = min(found, key=lambda metric: found[metric][:2])
    return verdict_row(claim, PAPER, verdict, score=score, estimate=found[score][1], details=details)


def _so(holds, value):
    return "a tie, " * (abs(value) <= _ROUNDING) + ("so it is" if holds else "not so")


def told(part, options):
    """Which rows a part compares, after a colon, where a claim has several; see `alternatives`."""
    several = sum(map(len, options)) > 1
    return f": {part.rows}" if several and part.rows else ""


def _printed_score(rule, options, values):
    """Whether it is so by one score, and the least favourable difference with its part."""
    best = None
    for parts in options:
        found = [(_is_so(rule, part, value := _difference(part, values)), value, part) for part in parts]
        least = min(found, key=lambda one: (one[0], one[0] and not one[2].strict, one[1]))
        best = max(best or least, least, key=lambda one: one[:2])
    return best


def _difference(part, values):
    first, second = (values[list(places)] for places in part.comparison[:2])
    return float(np.round(np.dot(part.comparison.weights, second - first), 9))


def _is_so(rule, part, value):
    if rule.kind == "gain":
        return abs(value - rule.size) < _HALF_A_POINT
    return value > _ROUNDING if part.strict else value >= -_ROUNDING
