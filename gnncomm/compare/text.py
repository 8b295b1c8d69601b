"""A comparison where people read it: tables, sentences, LaTeX; and as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from gnncomm.compare.comparison import SCHEMA, Against, Comparison, Method
from gnncomm.compare.statistics import Test
from gnncomm.evaluation import Interval

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def tables(comparison: Comparison) -> list[Table]:
    """A row for each method; and one for each but the first, beside it."""
    found = [_table(title(comparison), _columns(comparison), [_row(comparison, each) for each in comparison.methods])]
    if comparison.against:
        first = f"beside {plain(comparison.methods[0].group.label)}"
        found.append(_table(first, _BESIDE, [_beside(each, comparison.metric) for each in comparison.against]))
    return found


def lines(comparison: Comparison) -> list[str]:
    """The same for a narrow window: a line for each row."""
    columns = _columns(comparison)
    rows = [(columns, _row(comparison, each)) for each in comparison.methods]
    rows += [(list(_BESIDE), _beside(each, comparison.metric)) for each in comparison.against]
    told = [f"{row[0]}: " + ", ".join(map(" ".join, zip(names[1:], row[1:], strict=True))) for names, row in rows]
    return [title(comparison), *told]


def _table(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=name, min_width=72)
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number > 0,
            min_width=number and len(column),
        )
    for row in rows:
        table.add_row(*row)
    return table


def remarks(comparison: Comparison) -> list[str]:
    """The sentences that belong to the tables."""
    found = []
    if comparison.against:
        found.append(comparison.power())
    tests = [each.test for each in comparison.against if each.test is not None]
    too_few = {f"{test.count} {_over(test)} cannot give": test.least_p for test in tests if test.least_p > 0.05}
    found += [f"{few} a p below {p:.3g}, whatever they say: train more seeds." for few, p in too_few.items()]
    if any(test.of == "episodes" for test in tests):
        found.append("One seed each: this is about these teams on these episodes, and says nothing of the methods.")
    if comparison.threshold is not None:
        found.append(
            f"Steps to {comparison.metric} {comparison.threshold:g}: median of the seeds that reached it in training, "
            "and how many did."
        )
    return found + [f"left out: {plain(line)}" for line in comparison.left_out]


def title(comparison: Comparison) -> str:
    """What was compared."""
    told = comparison.protocol
    settings = ", ".join(
        f"{name.removeprefix('env.settings.')} {value}" for name, value in told.items() if "env.settings." in name
    )
    where = plain(f"{told['env']}{f' ({settings})' if settings else ''}")
    return f"{comparison.metric} in {where}, {told['run.steps']:,} steps, {told['episodes']:,} episodes for each seed"


def latex(comparison: Comparison) -> str:
    """The first table as LaTeX (package booktabs), and the remarks as comments."""
    rows = [_columns(comparison), *(_row(comparison, method) for method in comparison.methods)]
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    head = rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
    body = [head, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*(f"% {line}" for line in (title(comparison), *remarks(comparison))), *body]) + "\n"


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """The JSON form, see ``docs/compare.md``."""
    return {
        "schema": SCHEMA,
        "metric": comparison.metric,
        "threshold": comparison.threshold,
        "protocol": dict(comparison.protocol),
        "methods": [_method(method) for method in comparison.methods],
        "against_first": [_against(each) for each in comparison.against],
        "power": comparison.power(),
        "left_out": list(comparison.left_out),
    }


def plain(text: str) -> str:
    """Without letters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def shortened(text: str, most: int) -> str:
    """Beginning and end of what is longer than ``most`` letters."""
    tail = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - tail]}...{text[-tail:]}"


def _columns(comparison: Comparison) -> list[str]:
    reach = [f"steps to {comparison.threshold:g}"] if comparison.threshold is not None else []
    return ["method", "seeds", "mean", "IQM", "95 %", "worst", "channel", "gain", *reach]


def _row(comparison: Comparison, method: Method) -> list[str]:
    number = len(method.teams)
    used = sum(team.kept.report["channel_used"] for team in method.teams)
    form = _form(comparison.metric)
    row = [plain(method.group.label), str(number), form(method.mean), form(method.iqm.mean)]
    row += [_between(method.iqm, form) if number > 1 else "–", form(method.worst)]
    row += [f"{used} of {number}", f"{method.gain:+.3f}"]
    if comparison.threshold is not None:
        when = method.steps_to_threshold
        row.append(f"{np.median(when):,.0f} ({len(when)} of {number})" if when else f"– (0 of {number})")
    return row


_BESIDE = ("method", "P(better)", "95 %", "difference", "95 %", "p", "Holm", "over")
"""Differences of success are in points of per cent."""


def _beside(each: Against, metric: str) -> list[str]:
    test, chance = each.test, each.improves
    form = _gap(metric)
    row = [plain(each.method.group.label), f"{chance.mean:.2f}"]
    row += [_between(chance, "{:.2f}".format) if max(len(each.method.teams), len(each.first.teams)) > 1 else "–"]
    if test is None or each.adjusted is None:
        return [*row, form(each.method.mean - each.first.mean), "–", "–", "–", "too few seeds"]
    row += [form(test.interval.mean), _between(test.interval, form)]
    return [*row, f"{test.p:.3g}", f"{each.adjusted:.3g}", f"{test.count} {_over(test)}"]


def _gap(metric: str) -> Callable[[float], str]:
    """How differences are written."""
    scale, digits = (100, 1) if metric == "success" else (1, 3)
    return lambda value: f"{scale * value:+.{digits}f}"


def _form(metric: str) -> Callable[[float], str]:
    return {"success": "{:.1%}", "return": "{:+.3f}", "steps": "{:.2f}"}[metric].format


def _between(interval: Interval, form: Callable[[float], str]) -> str:
    return f"{form(interval.low).removesuffix('%')} – {form(interval.high)}"


def _over(test: Test) -> str:
    return {"seeds": "seed pairs", "episodes": "episode pairs"}.get(test.of, test.of)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text).replace("–", "--")


def _interval(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else {"mean": value.mean, "low": value.low, "high": value.high}


def _method(method: Method) -> dict[str, Any]:
    return {
        "label": method.group.label,
        "settings": dict(method.group.settings),
        "mean": method.mean,
        "mean_interval": _interval(method.mean_interval),
        "iqm": _interval(method.iqm),
        "worst": method.worst,
        "communication_gain": method.gain,
        "channel_used": _interval(method.channel),
        "seeds": [
            {
                "run": str(team.run.path),
                "seed": team.run.seed,
                "score": team.score,
                "communication_gain": team.kept.report["communication_gain"],
                "channel_used": team.kept.report["channel_used"],
                "steps_to_threshold": team.reached,
            }
            for team in method.teams
        ],
    }


def _against(each: Against) -> dict[str, Any]:
    test = each.test
    told: dict[str, Any] | None = None
    if test is not None:
        told = {"difference": _interval(test.interval), "p": test.p, "least_p": test.least_p}
        told |= {"p_holm": each.adjusted, "of": test.of, "count": test.count}
    return {"label": each.method.group.label, "probability_of_improvement": _interval(each.improves), "test": told}
