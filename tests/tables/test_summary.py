"""What is made of cells: means and spreads, ranks, the paper beside, and text in three forms."""

import csv
import math
import shutil
import subprocess

import pytest

from lightning_ras2s.tables.scatter import draw_scatter
from lightning_ras2s.tables.summary import summarize
from lightning_ras2s.tables.text import comma_separated, escape, latex, markdown
from tests.tables.toy import cell, plan, tables


def one(*args, **more):
    (table,) = summarize(plan(*args, **more.pop("plan", {})), tables(*more.pop("cells"), **more))
    return table


def test_means_are_over_scenes_and_spreads_over_seeds():
    cells = [
        cell(psnr=psnr, scene=scene, seed=seed)
        for seed, values in ((1, (30, 34)), (2, (33, 35)), (3, (30, 30)))
        for scene, psnr in zip("ab", values, strict=True)
    ]
    table = one("ras2s", cells=cells, plan={"seeds": (1, 2, 3)})
    entry = table.rows[0].entries["noniid"]
    assert entry.means["psnr_db"] == pytest.approx(32)
    assert entry.spreads["psnr_db"] == pytest.approx(2)  # of 32, 34 and 30
    assert (table.scenes, table.seeds) == (2, 3)
    assert one("ras2s", cells=[cell()]).rows[0].entries["noniid"].spreads == {}


def test_no_mean_is_of_some_scenes_only():
    cells = [cell(), cell(scene="b"), cell("median")]
    table = one("ras2s", "median", cells=cells, blank={("median", "kaist"): "failed on b"})
    assert set(table.rows[0].entries) == {"noniid"}
    assert table.rows[1].entries == {}
    assert table.rows[1].note == "failed on b"


def test_the_paper_stands_beside_where_its_test_is_the_same():
    table = one("ras2s", cells=[cell(psnr=40.0)])
    entry = table.rows[0].entries["noniid"]
    assert entry.paper["psnr_db"] == 40.70  # Table 1, KAIST, case 1
    assert entry.difference("psnr_db") == pytest.approx(-0.7)
    cave = one(
        "ras2s",
        cells=[cell(dataset="cave:hsir", case="mixture")],
        plan={"datasets": ("cave:hsir",), "cases": ("mixture",)},
    )  # of its training alone
    assert cave.rows[0].entries["mixture"].paper
    for dataset in ("indian_pines", "wdc_mall:t3sc", "scenes:kaist"):
        table = one("ras2s", cells=[cell(dataset=dataset)], plan={"datasets": (dataset,)})
        assert table.rows[0].entries["noniid"].paper == {}
    cells = [cell(dataset="icvl:ras2s", case="mixture")]
    explicit = one("ras2s", cells=cells, plan={"datasets": ("icvl:ras2s",), "cases": ("mixture",)})
    assert explicit.rows[0].entries["mixture"].paper["psnr_db"] > 30
    assert one("ras2s+s", cells=[cell("ras2s+s")]).rows[0].entries["noniid"].paper == {}


def test_the_best_and_the_second_are_of_what_is_printed():
    cells = [cell("ras2s", 30.001), cell("ras2s+s", 30.0), cell("median", 29.0)]
    cells += [cell("mnf", 28.0)]
    table = one("ras2s", "ras2s+s", "median", "mnf", cells=cells)
    assert [table.rank(row, "noniid", "psnr_db") for row in table.rows] == [1, 1, 2, 0]
    assert [table.rank(row, "noniid", "sam_rad") for row in table.rows] == [1, 1, 2, 0]
    assert one("ras2s", cells=[cell()]).rank(table.rows[0], "noniid", "psnr_db") == 0


def made():
    cells = [
        cell("identity", 18.0, memory=None), cell("ras2s", 40.0, parameters=84105, gflops=12.4),
        cell("ras2s+s", 42.0, parameters=84105, gflops=12.4),
    ]  # fmt: skip
    chosen = plan("identity", "ras2s", "ras2s+s", "lrtdtv", datasets=("kaist", "icvl"))
    blank = {("lrtdtv", ""): "needs 10 % more & more_of"}
    return summarize(chosen, tables(*cells, blank=blank, absent={"icvl": "not prepared"}))


def test_markdown():
    lines = markdown(made()).splitlines()
    assert lines[0] == "## kaist"
    assert lines[2] == (
        "| method | noniid PSNR | noniid SSIM | noniid SAM | seconds | MB | parameters | GFLOPs |"
    )
    assert lines[4:11] == [
        "| Noisy | 18.00 | 0.3600 | 0.0556 | 0.50 | - | - | - |",
        "| *paper* | 18.26 | 0.6145 | 1.0741 |  |  |  |  |",
        "| *difference* | -0.26 | -0.2545 | -1.0185 |  |  |  |  |",
        "| RAS2S | <u>40.00</u> | <u>0.8000</u> | <u>0.0250</u> | 0.50 | 3 | 84,105 | 12 |",
        "| *paper* | 40.70 | 0.9916 | 0.1373 |  |  |  |  |",
        lines[9],
        "| RAS2S+S | **42.00** | **0.8400** | **0.0238** | 0.50 | 3 | 84,105 | 12 |",
    ]
    assert lines[11] == "| LRTDTV<sup>1</sup> | - | - | - | - | - | - | - |"
    assert "<sup>1</sup> needs 10 % more & more_of<br>" in lines
    assert lines[-1] == "No figures: not prepared"


def test_csv_has_all_digits_and_nothing_made_up():
    rows = list(csv.DictReader(comma_separated(made()).splitlines()))
    assert [row["method"] for row in rows] == ["identity", "ras2s", "ras2s+s", "lrtdtv", ""]
    assert float(rows[1]["sam_rad"]) == 1 / 40
    assert rows[1]["paper_psnr_db"] == "40.7"
    assert float(rows[1]["difference_psnr_db"]) == -0.7
    assert rows[0]["memory_bytes"] == ""
    assert rows[3]["psnr_db"] == rows[3]["seconds"] == ""
    assert rows[3]["note"].startswith("needs")
    assert (rows[4]["dataset"], rows[4]["note"]) == ("icvl", "not prepared")


def test_latex_is_escaped_and_balanced(tmp_path):
    text = latex(made())
    assert r"RAS2S+S & \textbf{42.00} & \textbf{0.8400} & \textbf{0.0238}" in text
    assert r"RAS2S & \underline{40.00}" in text
    assert r"LRTDTV$^{1}$ & - & -" in text
    assert r"$^{1}$ needs 10 \% more \& more\_of" in text
    assert text.count("{") == text.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") - line.count(r"\&") for line in body[1:]}) == 1
    assert escape("a_b^2~50 % {x}") == (r"a\_b\textasciicircum{}2\textasciitilde{}50 \% \{x\}")
    if shutil.which("pdflatex"):
        (tmp_path / "t.tex").write_text(
            rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{text}"
            r"\end{document}"
        )
        command = ["pdflatex", "-halt-on-error", "t.tex"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_several_seeds_show_their_spread():
    cells = [cell(psnr=30.0 + seed, seed=seed, dataset="icvl") for seed in (1, 2)]
    found = summarize(plan("ras2s", datasets=("icvl",), seeds=(1, 2)), tables(*cells))
    assert "| 31.50 ± 0.71 |" in markdown(found)
    assert r"31.50 $\pm$ 0.71" in latex(found)


def test_the_scatter_has_a_point_for_each_method_with_figures():
    figure = draw_scatter(made())
    (axis,) = figure.axes
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert [float(point.get_ydata()[0]) for point in points] == [40.0, 42.0]
    assert [point.get_markerfacecolor() == "white" for point in points] == [True, False]
    assert [text.get_text() for text in axis.texts] == ["RAS2S+S", "RAS2S"]
    (line,) = [line for line in axis.lines if line.get_marker() != "o"]
    assert list(line.get_ydata()) == [40.0, 42.0]
    assert math.isclose(points[0].get_xdata()[0], 0.5)
