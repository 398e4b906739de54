"""``ras2s compare``: which trainings there are, what becomes of their figures, and the whole."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_ras2s.cli import main
from lightning_ras2s.compare import command
from lightning_ras2s.compare.summary import comma_separated, draw, markdown, summarize
from lightning_ras2s.compare.trainings import Budget, plan
from lightning_ras2s.methods import METHODS, find
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.folder import NAMES

torch.set_num_threads(1)

METRICS = ("psnr_db", "ssim", "sam_rad", "ergas")


def trainings_of(folder, *names, seeds=1, further=(), budget=None):
    methods = [find(name) for name in names]
    return plan(methods, seeds, "quickstart", budget or Budget(minutes=3), folder, further)


def put_result(training, psnr, seconds=180.0):
    """What a training leaves that came to its end."""
    training.folder.mkdir(parents=True)
    command = shlex.join(["ras2s", *training.words, f"--run_dir={training.folder}"])
    record = {"status": "finished", "command": command}
    (training.folder / "run.json").write_text(json.dumps(record))
    label = training.method.label
    with (training.folder / "evaluation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*NAMES, *METRICS])
        for case, shift in (("noniid", 0), ("mixture", -2)):
            for name, gain in (("Noisy", -10), (label, 0), (f"{label}+S", 4)):
                value = psnr + shift + gain
                for scene in ("a", "mean"):
                    row = {"dataset": "d", "noise_case": case, "method": name, "scene": scene}
                    writer.writerow([*(row[n] for n in NAMES), value, 0.5, 1 / value, 9])
    lines = ["seconds,patches,psnr_db", "0.0,0,12.5", f"{seconds},640,{psnr}"]
    (training.folder / "budget.csv").write_text("\n".join(lines) + "\n")


def value_of(words, name):
    return next(w.partition("=")[2] for w in words if w.partition("=")[0] == f"--{name}")


def test_each_method_has_the_loss_optimizer_and_rate_of_its_recipe(tmp_path):
    for key, method in METHODS.items():
        if method.kind != "network":
            continue
        (training,) = trainings_of(tmp_path, key)
        words = training.command
        assert words[3:5] == ["fit", "quickstart"]
        path = method.source.replace(":", ".")
        assert value_of(words, "model.network") == path
        assert value_of(words, "model.schedule") == "constant"
        for name, value in method.arguments.items():
            assert value_of(words, f"model.network.{name}") == str(value)
        if method.bands:
            assert value_of(words, "model.network.bands") == "16"  # of the quickstart's patches
    (macnet,) = trainings_of(tmp_path, "macnet")
    assert value_of(macnet.command, "model.loss") == "126976*l2"
    assert value_of(macnet.command, "model.optimizer.eps") == "0.001"
    assert float(value_of(macnet.command, "model.learning_rate")) == 5e-3
    (ours,) = trainings_of(tmp_path, "ras2s")
    assert float(value_of(ours.command, "model.learning_rate")) == 1e-3
    assert value_of(ours.command, "model.loss") == "l1"
    assert value_of(ours.command, "model.optimizer.betas") == "[0.9, 0.99]"


def test_options_for_all_reach_the_bands_of_a_network(tmp_path):
    (training,) = trainings_of(tmp_path, "sert", further=["--data.patch_bands=8"])
    assert value_of(training.command, "model.network.bands") == "8"
    assert training.command[-1] == "--data.patch_bands=8"


def test_seeds_follow_each_other_and_pilots_try_rates_with_a_tenth(tmp_path):
    trainings = trainings_of(tmp_path, "ras2s", "mst", seeds=2)
    assert [(t.method.key, t.seed) for t in trainings] == [
        ("ras2s", 2018), ("mst", 2018), ("ras2s", 2019), ("mst", 2019),
    ]  # fmt: skip
    pilots = trainings[1].pilots()
    rates = [float(value_of(pilot.command, "model.learning_rate")) for pilot in pilots]
    assert rates == pytest.approx([4e-4, 1.2e-3, 4e-3])
    minutes = value_of(pilots[0].command, "trainer.callbacks.minutes")
    assert float(minutes) == pytest.approx(0.3)
    assert len({t.folder for t in (*trainings, *pilots)}) == 7
    (by_patches,) = trainings_of(tmp_path, "mst", budget=Budget(patches=4000))
    assert value_of(by_patches.pilots()[2].command, "trainer.callbacks.patches") == "400"


def test_what_has_no_weights_is_not_trained(tmp_path):
    with pytest.raises(UserError, match="Median has no weights to train"):
        trainings_of(tmp_path, "median")


def test_the_table_has_means_over_cases_and_the_spread_over_seeds(tmp_path):
    trainings = trainings_of(tmp_path, "ras2s", "mst", seeds=2)
    for training, psnr in zip(trainings, (30.0, 25.0, 32.0, 25.0), strict=True):
        put_result(training, psnr)
    rows = summarize(trainings)
    assert [row.label for row in rows] == ["Noisy", "RAS2S", "RAS2S+S", "MST", "MST+S"]
    text = markdown(rows, trainings, is_searched=True)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    assert "30.00 ± 1.41" in lines["RAS2S"]  # means 29 and 31
    assert "**34.00 ± 1.41**" in lines["RAS2S+S"]
    assert "24.00 ± 0.00" in lines["MST"]
    assert "84,105" in lines["RAS2S"]
    assert "640" in lines["MST"]
    assert "20.00" in lines["Noisy"]  # of the first method's trainings: 19 and 21
    assert "best of 1, 3, 10 times" in text
    assert "2 seeds" in text
    kept = list(csv.DictReader(comma_separated(trainings).splitlines()))
    assert len(kept) == 4 * 2 * 2
    assert float(kept[0]["psnr_db"]) == 30.0
    figure = draw(trainings)
    (axis,) = figure.axes
    assert [line.get_xdata()[-1] for line in axis.lines] == 4 * [3.0]  # minutes
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["RAS2S", "MST"]


def test_a_training_of_other_options_is_not_taken_for_this_one(tmp_path):
    (training,) = trainings_of(tmp_path, "mst")
    assert not training.is_done
    assert not training.is_other
    put_result(training, 30.0)
    assert training.is_done
    faster = replace(training, factor=3)
    assert not faster.is_done
    assert faster.is_other


def test_a_rate_that_is_too_high_for_it_is_passed_over(tmp_path, monkeypatch, capsys):
    (training,) = trainings_of(tmp_path, "mst")

    def diverges(pilot, place):
        if pilot.factor > 1:
            raise command.TrainingError("it diverged")
        put_result(pilot, 20.0)

    monkeypatch.setattr(command, "_run", diverges)
    assert command._best_factor(training) == 1
    assert capsys.readouterr().err.count("too high: it diverged") == 2


def test_the_others_are_compared_where_one_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def fails_for_mst(training, place):
        if training.method.key == "mst":
            raise command.TrainingError("MST: it diverged")
        put_result(training, 30.0)

    monkeypatch.setattr(command, "_run", fails_for_mst)
    words = ["compare", "--methods=mst,ras2s", "--minutes=3", "--rates=recipe"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "left out: MST: it diverged" in told.err
    assert "RAS2S+S" in told.out
    assert "MST" not in Path("compare/quickstart_3_minutes/compare.md").read_text()


def test_the_rate_that_came_furthest_is_taken(tmp_path, monkeypatch, capsys):
    (training,) = trainings_of(tmp_path, "mst")
    reached = {1: 20.0, 3: 26.0, 10: float("nan")}
    monkeypatch.setattr(command, "_run", lambda t, place: put_result(t, reached[t.factor]))
    assert command._best_factor(training) == 3
    assert "x 1: 20.00 dB, x 3: 26.00 dB, x 10: -inf dB; takes x 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--methods=ras3s"], "did you mean ras2s"),
        (["--methods=,"], "--methods names none"),
        (["--methods=ras2s+s"], "RAS2S+S: name ras2s"),
        (["--methods=median"], "no weights to train"),
        (["--methods=ras2s", "--minutes=0"], "not above 0"),
        (["--methods=ras2s", "--minutes=1", "--patches=8"], "not both"),
        (["--methods=ras2s", "--seeds=0"], "--seeds=0"),
        (["quickstrat", "--methods=ras2s"], "did you mean quickstart"),
        (["--methods=ras2s", "--", "--model.methods=[network]"], "tested alone and with +S"),
    ],
)
def test_a_mistake_is_told_in_a_line(args, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *args]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.methods
def test_the_whole_and_what_is_there_is_not_trained_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--data.patch_bands=6", "--data.test_noise=[mixture]", "--trainer.accelerator=cpu"]
    words = ["compare", "quickstart", "--methods=ras2s", "--patches=16", "--rates=recipe"]
    assert main([*words, "--", *small]) == 0
    folder = Path("compare/quickstart_16_patches")
    assert {path.name for path in folder.iterdir()} == {
        "compare.md", "compare.csv", "compare.png", "ras2s_2018",
    }  # fmt: skip
    text = (folder / "compare.md").read_text()
    assert "| RAS2S+S | 84,105 |" in text
    assert "from its recipe's" in text
    before = (folder / "ras2s_2018" / "run.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*words, "--", *small]) == 0
    assert "is there" in capsys.readouterr().err
    assert (folder / "ras2s_2018" / "run.json").stat().st_mtime_ns == before


@pytest.mark.methods
def test_a_training_that_fails_is_named_with_its_log(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["compare", "quickstart", "--methods=mst", "--patches=8", "--rates=recipe"]
    assert main([*words, "--", "--data.patch_size=4096"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "MST, seed 2018" in told
    assert "4096" in told
    assert "output.log" in told
