"""The tables as Markdown, LaTeX and CSV; the best value is bold, the second underlined."""

import csv
import io
import math
from collections.abc import Callable, Sequence

from rich.table import Table as ScreenTable

from lightning_ras2s.evaluation import DIGITS
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.pages.result_tables import PAPER_METRICS
from lightning_ras2s.tables.summary import Entry, Row, Table

SHOWN = PAPER_METRICS  # ERGAS is in the CSV and on the page
SHORT = {"psnr_db": "PSNR", "ssim": "SSIM", "sam_rad": "SAM"}
COSTS = ("seconds", "MB", "parameters", "GFLOPs")
Record = dict[str, str | float | int]
Mark = Callable[[str, int], str]

COLUMNS = (
    "dataset", "noise_case", "method", "label", "scenes", "seeds",
    *METRICS, *(f"{m}_spread" for m in METRICS), *(f"paper_{m}" for m in PAPER_METRICS),
    *(f"difference_{m}" for m in PAPER_METRICS), "seconds", "memory_bytes", "parameters", "gflops",
    "device", "threads", "note",
)  # fmt: skip


def on_screen(table: Table) -> ScreenTable:
    """PSNR (dB) of each method under each noise case, and the seconds of a scene."""
    shown = ScreenTable(title=f"{table.title}: PSNR (dB)", title_justify="left")
    shown.add_column("method", no_wrap=True)
    for name in (*table.cases, "seconds"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        values = [_value(table, row, case, "psnr_db", _on_screen) for case in table.cases]
        shown.add_row(row.method.label, *values, costs(row)[0])
    return shown


def markdown(tables: Sequence[Table]) -> str:
    """A section a dataset; units: PSNR in dB, SAM in rad."""
    return "\n".join(_section(table) for table in tables)


def _section(table: Table) -> str:
    lines = [f"## {table.title}", ""]
    if table.absent:
        return "\n".join([*lines, f"No figures: {table.absent}", ""])
    heads = [f"{case} {SHORT[m]}" for case in table.cases for m in SHOWN]
    lines.append(f"| method | {' | '.join([*heads, *COSTS])} |")
    lines.append(f"| --- |{' ---: |' * (len(heads) + len(COSTS))}")
    footnotes = Footnotes()
    for row in table.rows:
        name = row.method.label + footnotes.mark(row.note, "<sup>{}</sup>")
        values = [_value(table, row, case, m, _bold) for case in table.cases for m in SHOWN]
        lines.append(f"| {name} | {' | '.join([*values, *costs(row)])} |")
        for title, cells in _paper_lines(table, row):
            lines.append(f"| *{title}* | {' | '.join([*cells, *[''] * len(COSTS)])} |")
    lines += ["", caption(table), "", *footnotes.lines("<sup>{}</sup> {}<br>")]
    return "\n".join([*lines, ""])


def latex(tables: Sequence[Table]) -> str:
    r"""A ``table*`` a dataset, for ``booktabs`` and ``graphicx``."""
    parts = [r"% \usepackage{booktabs,graphicx}"]
    for table in tables:
        if table.absent:
            parts.append(f"% {table.title}: no figures: {table.absent}")
            continue
        parts.append(_latex_table(table))
    return "\n".join(parts) + "\n"


def _latex_table(table: Table) -> str:
    count, groups = len(SHOWN), len(table.cases)
    heads = " & ".join(rf"\multicolumn{{{count}}}{{c}}{{{escape(case)}}}" for case in table.cases)
    rules = "".join(
        rf"\cmidrule(lr){{{2 + count * i}-{1 + count * (i + 1)}}}" for i in range(groups)
    )
    metrics = " & ".join(SHORT[m] for _ in table.cases for m in SHOWN)
    tail = " & ".join(escape(cost) for cost in COSTS)
    lines = [
        r"\begin{table*}\centering",
        rf"\caption{{{escape(caption(table))}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'c' * (count * groups)}rrrr}}",
        r"\toprule",
        rf" & {heads} & & & & \\ {rules}",
        rf"method & {metrics} & {tail} \\ \midrule",
    ]
    footnotes = Footnotes()
    for row in table.rows:
        name = escape(row.method.label) + footnotes.mark(row.note, "$^{{{}}}$")
        values = [_value(table, row, case, m, _latex_bold) for case in table.cases for m in SHOWN]
        lines.append(rf"{' & '.join([name, *values, *costs(row)])} \\")
        for title, cells in _paper_lines(table, row):
            shown = [rf"\textit{{{title}}}", *cells, *[""] * len(COSTS)]
            lines.append(rf"{' & '.join(shown)} \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\\ {line}" for line in map(_latex_note, footnotes.lines("{} {}"))]
    return "\n".join([*lines, r"\end{table*}"])


def _latex_note(line: str) -> str:
    number, _, text = line.partition(" ")
    return rf"{{\footnotesize $^{{{number}}}$ {escape(text)}}}"


def comma_separated(tables: Sequence[Table]) -> str:
    """A row for each dataset, noise case and method, with all digits; empty where nothing is."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows_of(tables))
    return text.getvalue()


def rows_of(tables: Sequence[Table]) -> list[Record]:
    """The rows of the CSV; what is not known is not in them."""
    rows: list[Record] = []
    for table in tables:
        if table.absent:
            rows.append({"dataset": table.dataset, "note": table.absent})
        for row in table.rows:
            for case in table.cases:
                rows.append(_record(table, row, case))
    return rows


def _record(table: Table, row: Row, case: str) -> Record:
    named: Record = {
        "dataset": table.dataset,
        "noise_case": case,
        "method": row.method.key,
        "label": row.method.label,
    }
    entry = row.entries.get(case)
    if entry is None:
        return named | {"note": row.note or "not all scenes have figures"}
    cell = entry.cells[0]
    found: dict[str, str | float | int | None] = {
        **named,
        "scenes": table.scenes,
        "seeds": table.seeds,
        **entry.means,
        **{f"{m}_spread": value for m, value in entry.spreads.items()},
        **{f"paper_{m}": value for m, value in entry.paper.items()},
        **{f"difference_{m}": round(entry.difference(m), DIGITS[m]) for m in entry.paper},
        "seconds": entry.seconds,
        "memory_bytes": entry.memory,
        "parameters": row.parameters,
        "gflops": row.gflops,
        "device": cell.device,
        "threads": cell.threads,
        "note": row.note or None,
    }
    return {key: value for key, value in found.items() if value is not None}


class Footnotes:
    """Numbers what is told below a table, the same words once."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def mark(self, text: str, form: str) -> str:
        """The mark of a footnote; empty for no text."""
        if not text:
            return ""
        return form.format(self._texts.setdefault(text, len(self._texts) + 1))

    def lines(self, form: str) -> list[str]:
        """The footnotes, numbered."""
        return [form.format(number, text) for text, number in self._texts.items()]


def caption(table: Table) -> str:
    """What a table is of."""
    scenes = "1 scene" if table.scenes == 1 else f"{table.scenes} scenes"
    seeds = f", mean ± standard deviation of {table.seeds} draws of the noise"
    more = seeds if table.seeds > 1 else ""
    paper = " The paper's figures and the difference from them are below each method."
    return (
        f"{table.title}: {scenes}{more}; PSNR in dB, SAM in rad."
        f"{paper if table.has_paper else ''} {' '.join(table.notes)}"
    )


def costs(row: Row) -> list[str]:
    """Seconds, MB, parameters and GFLOPs of a row."""
    if not row.entries:
        return ["-"] * len(COSTS)
    memory = "-" if row.memory is None else f"{row.memory / 1e6:.0f}"
    parameters = f"{row.parameters:,}" if row.parameters else "-"
    gflops = "-" if row.gflops is None else f"{row.gflops:.0f}"
    return [f"{row.seconds:.2f}", memory, parameters, gflops]


def _value(table: Table, row: Row, case: str, metric: str, mark: Mark) -> str:
    entry = row.entries.get(case)
    if entry is None or math.isnan(entry.means[metric]):
        return "-"
    spread = entry.spreads.get(metric)
    digits = DIGITS[metric]
    text = f"{entry.means[metric]:.{digits}f}"
    if spread is not None:
        text += f" ± {spread:.{digits}f}"
    return mark(text, table.rank(row, case, metric))


def _paper_lines(table: Table, row: Row) -> list[tuple[str, list[str]]]:
    if not any(entry.paper for entry in row.entries.values()):
        return []
    places = [(row.entries.get(case), metric) for case in table.cases for metric in SHOWN]
    return [
        ("paper", [_paper(entry, m) for entry, m in places]),
        ("difference", [_difference(entry, m) for entry, m in places]),
    ]


def _paper(entry: Entry | None, metric: str) -> str:
    return f"{entry.paper[metric]:.{DIGITS[metric]}f}" if entry and entry.paper else ""


def _difference(entry: Entry | None, metric: str) -> str:
    return f"{entry.difference(metric):+.{DIGITS[metric]}f}" if entry and entry.paper else ""


def _on_screen(text: str, rank: int) -> str:
    return {1: f"[bold]{text}[/bold]", 2: f"[underline]{text}[/underline]"}.get(rank, text)


def _bold(text: str, rank: int) -> str:
    return {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(rank, text)


def _latex_bold(text: str, rank: int) -> str:
    text = text.replace("±", r"$\pm$")
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(rank, text)


def escape(text: str) -> str:
    """Text for LaTeX."""
    for sign in "\\&%$#_{}":
        text = text.replace(sign, rf"\{sign}" if sign != "\\" else r"/")
    return (
        text.replace("±", r"$\pm$")
        .replace("~", r"\textasciitilde{}")
        .replace("^", r"\textasciicircum{}")
    )
