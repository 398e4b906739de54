"""What a comparison has found: a table with mean and spread, and curves over the time."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from matplotlib.figure import Figure

from lightning_ras2s.compare.trainings import FACTORS, Budget, Training
from lightning_ras2s.evaluation import DIGITS
from lightning_ras2s.methods import REFINED
from lightning_ras2s.pictures.drawing import OTHERS

SHOWN = {"psnr_db": "PSNR (dB)", "ssim": "SSIM", "sam_rad": "SAM (rad)"}


@dataclass(frozen=True)
class Row:
    """A method's figures, over the noise cases.

    Attributes:
        label: As printed.
        training: One of them; None for the noisy scenes.
        values: Metric -> one value for each seed.
        patches: That a training saw, their mean.
    """

    label: str
    training: Training | None
    values: dict[str, list[float]]
    patches: float = 0.0

    def told(self, metric: str) -> str:
        """The mean over the seeds, and their spread where there are several."""
        values = self.values[metric]
        digits = f".{DIGITS[metric]}f"
        spread = f" ± {stdev(values):{digits}}" if len(values) > 1 else ""
        return f"{fmean(values):{digits}}{spread}"


def summarize(trainings: Sequence[Training]) -> list[Row]:
    """The noisy scenes, then each method alone and with +S; values are means over noise cases."""
    rows: list[Row] = []
    for key in dict.fromkeys(training.method.key for training in trainings):
        own = [training for training in trainings if training.method.key == key]
        patches = fmean(training.curve()[-1][1] for training in own)
        label = own[0].method.label
        for name in (*(["Noisy"] if not rows else []), label, label + REFINED.upper()):
            found = [_means(training, name) for training in own]
            values = {metric: [one[metric] for one in found] for metric in SHOWN}
            trained = None if name == "Noisy" else own[0]
            rows.append(Row(name, trained, values, patches))
    return rows


def _means(training: Training, label: str) -> dict[str, float]:
    """Over the noise cases."""
    rows = [values for _, name, values in training.figures() if name == label]
    return {metric: fmean(row[metric] for row in rows) for metric in SHOWN}


def cases_of(trainings: Sequence[Training]) -> list[str]:
    """Noise cases of the test."""
    return list(dict.fromkeys(case for case, _, _ in trainings[0].figures()))


def markdown(rows: Sequence[Row], trainings: Sequence[Training], is_searched: bool) -> str:
    """The table, and what it is of.

    Args:
        rows: Of the table.
        trainings: Behind them.
        is_searched: Whether the rates are the best of several.
    """
    heads = ["method", "weights", *SHOWN.values(), "patches seen", "initial rate"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    best = {metric: _best(rows, metric) for metric in SHOWN}
    for row in rows:
        figures = [
            f"**{row.told(metric)}**" if row is best[metric] else row.told(metric)
            for metric in SHOWN
        ]
        costs = ["", "", ""]
        if row.training is not None:
            method = row.training.method
            rate = row.training.recipe["learning_rate"]
            costs = [f"{method.parameters:,}", f"{row.patches:,.0f}", f"{float(rate):g}"]
        lines.append(f"| {' | '.join([row.label, costs[0], *figures, *costs[1:]])} |")
    first = trainings[0]
    seeds = len({training.seed for training in trainings})
    tried = ", ".join(f"{factor:g}" for factor in FACTORS)
    told = f"the best of {tried} times its recipe's" if is_searched else "its recipe's"
    lines += [
        "",
        f"Each trained for {first.budget} on {first.experiment}, with the loss and the optimizer "
        f"of its own recipe and a rate that falls by half a cosine from {told}; patches, noise and "
        f"test are the same for all. Means over {', '.join(cases_of(trainings))}"
        + (f" and {seeds} seeds (± their standard deviation)." if seeds > 1 else "."),
        "",
    ]
    return "\n".join(lines)


def _best(rows: Sequence[Row], metric: str) -> Row:
    better = min if metric == "sam_rad" else max
    return better(rows, key=lambda row: fmean(row.values[metric]))


def comma_separated(trainings: Sequence[Training]) -> str:
    """A line for each method, seed and noise case."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "seed", "noise_case", *SHOWN, "ergas"])
    for training in trainings:
        for case, label, values in training.figures():
            if label != "Noisy":
                figures = [values[metric] for metric in (*SHOWN, "ergas")]
                writer.writerow([label, training.seed, case, *figures])
    return text.getvalue()


def draw(trainings: Sequence[Training]) -> Figure:
    """PSNR of crops of the validation scenes over the budget: a line a training."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axis = figure.subplots()
    budget: Budget = trainings[0].budget
    by_time = budget.minutes is not None
    keys = list(dict.fromkeys(training.method.key for training in trainings))
    for training in trainings:
        curve = training.curve()
        places = [seconds / 60 if by_time else patches for seconds, patches, _ in curve]
        is_first = training.seed == trainings[0].seed
        axis.plot(
            places,
            [psnr for _, _, psnr in curve],
            color=OTHERS[keys.index(training.method.key) % len(OTHERS)],
            label=training.method.label if is_first else None,
            lw=1.6,
        )
    axis.set_xlabel("minutes of training" if by_time else "patches")
    axis.set_ylabel("PSNR of validation crops (dB)")
    axis.set_title(f"{trainings[0].experiment}: {budget} each", fontsize=10)
    axis.grid(color="#e4e8ed", lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure
