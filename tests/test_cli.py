"""The command line, run as a user would: experiments, overrides, mistakes, the run's folder."""

import csv
import json
import os
import re
import struct
from pathlib import Path

import pytest
import torch
import yaml

from datamodules.__main__ import main as prepare_data
from datamodules.collection import scene_list
from lightning_ras2s import RAS2S, cli
from tests.miniatures import icvl

torch.set_num_threads(1)

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = sorted(p.stem for p in EXPERIMENTS.glob("*.yaml") if p.stem != "defaults")
TINY = (
    "--model.network.channels=2",
    "--model.test_bands=0",
    "--trainer.max_steps=2",
    "--data.patches_per_epoch=16",
    "--seed_everything=3",
    "--data.test_noise=[mixture]",
    "--trainer.accelerator=cpu",
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test in a folder and with an environment of its own, without a W&B account."""
    monkeypatch.chdir(tmp_path)
    for variable in [v for v in os.environ if v.startswith("WANDB")]:
        monkeypatch.delenv(variable)
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR", "WANDB_SILENT"):
        monkeypatch.setenv(variable, "")  # restored afterwards
        monkeypatch.delenv(variable)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    monkeypatch.setenv(cli.RUN_DIR, "")
    monkeypatch.delenv("DATA_ROOT", raising=False)
    monkeypatch.setattr("sys.argv", ["lightning_ras2s"])
    yield tmp_path
    import wandb

    wandb.teardown()


def files(name):
    return ["-c", str(EXPERIMENTS / "defaults.yaml"), "-c", str(EXPERIMENTS / f"{name}.yaml")]


def printed_config(capsys, *args):
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", *args, "--print_config"])
    assert end.value.code in (0, None)
    return yaml.safe_load(capsys.readouterr().out)


def only_run(folder):
    (run,) = folder.glob("runs/*/*")
    return run


def wandb_records(run):
    """The records of an offline run: a LevelDB log behind 7 bytes of header."""
    from wandb.proto import wandb_internal_pb2

    (path,) = run.glob("wandb/offline-run-*/run-*.wandb")
    data, position, buffer = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        buffer += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(buffer)
            buffer = b""
            yield record


def test_fit_trains_tests_and_leaves_a_complete_run_that_its_config_reruns(folder):
    assert cli.main(["fit", *files("quickstart"), *TINY]) == 0
    run = only_run(folder)
    assert run.parent.name == "quickstart"
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    with (run / "metrics.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert any(row["val/psnr_db"] for row in logged)
    with (run / "evaluation.csv").open() as file:
        evaluation = list(csv.DictReader(file))
    assert {row["method"] for row in evaluation} == {"Noisy", "Median 3x3x3", "RAS2S"}
    assert {row["scene"] for row in evaluation} == {"indian_pines_test", "mean"}
    assert {row["noise_case"] for row in evaluation} == {"mixture"}
    noisy = next(row for row in evaluation if row["method"] == "Noisy")
    assert 13 < float(noisy["psnr_db"]) < 15

    import wandb

    wandb.teardown()  # flushes the file
    records = list(wandb_records(run))
    config = {
        u.key: json.loads(u.value_json)
        for r in records
        if r.WhichOneof("record_type") in ("run", "config")
        for u in (r.run.config if r.HasField("run") else r.config).update
    }
    assert config["config"]["model"]["network"]["init_args"]["channels"] == 2
    assert "git_commit" in config
    keys = {
        ".".join(item.nested_key) or item.key
        for r in records
        if r.WhichOneof("record_type") == "history"
        for item in r.history.item
    }
    assert {"val/psnr_db", "test/psnr_db"} <= keys
    assert list(run.glob("wandb/offline-run-*/files/media/table/evaluation_*.table.json"))

    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["seed_everything"] == 3
    assert "seed" not in saved["data"]["init_args"]  # it is seed_everything

    (folder / "runs").rename(folder / "before")
    first = folder / "before" / run.relative_to(folder / "runs")
    assert cli.main(["fit", "-c", str(first / "config.yaml")]) == 0
    again = only_run(folder)
    assert again.parent.name == "quickstart"
    assert (again / "evaluation.csv").read_bytes() == (first / "evaluation.csv").read_bytes()
    assert not [p for p in folder.iterdir() if p.name not in ("runs", "before")]


def test_any_weights_are_evaluated(folder, capsys):
    torch.manual_seed(0)
    network = RAS2S(channels=2, hidden_compensation=False, zero_start=True)
    torch.save(network.state_dict(), "bare.pth")
    weights = ["--model.network=lightning_ras2s.load_network", "--model.network.path=bare.pth"]
    noise = "--data.test_noise=[gaussian50,mixture]"
    quiet = ("--verbose=false", "--trainer.accelerator=cpu")
    assert cli.main(["test", *files("quickstart"), *weights, noise, *quiet]) == 0
    assert "gaussian50" in capsys.readouterr().out
    with (only_run(folder) / "evaluation.csv").open() as file:
        rows = {(r["noise_case"], r["method"]): r for r in csv.DictReader(file)}
    assert set(rows) == {
        (case, method)
        for case in ("gaussian50", "mixture")
        for method in ("Noisy", "Median 3x3x3", "RAS2S, 16-band windows", "RAS2S")
    }
    for case in ("gaussian50", "mixture"):  # a network with a zero start returns its input
        for method in ("RAS2S", "RAS2S, 16-band windows"):
            assert rows[case, method]["psnr_db"] == rows[case, "Noisy"]["psnr_db"]
    assert float(rows["gaussian50", "Noisy"]["psnr_db"]) == pytest.approx(14.15, abs=0.02)


def test_a_set_wandb_mode_wins(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert cli.main(["fit", *files("quickstart"), *TINY, "--trainer.max_steps=1"]) == 0
    assert not list(only_run(folder).glob("wandb/*run-*"))


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_is_read(name, capsys):
    text = (EXPERIMENTS / f"{name}.yaml").read_text()
    assert text.startswith("# make ")
    config = printed_config(capsys, *files(name))
    assert config["data"]["class_path"].startswith("datamodules.")


def test_later_files_and_flags_reach_what_earlier_files_interpolate(folder, capsys):
    # Parser mode "omegaconf" (without the plus) resolves each file alone: 16 in all three.
    def test_bands(*args):
        return printed_config(capsys, *files("quickstart"), *args)["model"]["test_bands"]

    (folder / "later.yaml").write_text("data:\n  init_args:\n    patch_bands: 24\n")
    assert test_bands() == 16
    assert test_bands("-c", "later.yaml") == 24
    assert test_bands("-c", "later.yaml", "--data.patch_bands=8") == 8


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model.lrr=1"], "--model.lrr"),
        (["--model.learning_rate=abc"], "model.learning_rate.*float.*abc"),
        (["--data.noize=x"], "'noize' is not accepted"),
        (["--model.network.channels=13"], "channels=13.*even"),
        (["--model.network.attention_bands=4"], "attention_bands=4.*odd"),
        (["--model.loss=l3"], "unknown loss 'l3'"),
        (["--data.train_noise=[foo]"], "unknown noise case 'foo'"),
        (["--data.patch_size=100"], "100x100.*does not fit.*145x89"),
        (["--data.protocol=full"], "train split is empty"),
        (["--trainer.max_epochs=x"], "trainer.max_epochs.*int.* x"),
        (["-c", "nope.yaml"], "no experiment 'nope'"),
        (["--ckpt_path=no.ckpt"], "no.ckpt: no such checkpoint"),
        (["--ckpt_path=truncated.ckpt"], "truncated.ckpt: 700 bytes that cannot be read"),
        (["-c", "typo.yaml"], "model.lrr"),
        (["--ckpt_path=whole.ckpt"], "whole.ckpt: holds no training.*make evaluate"),
        (["--model.learning_rate=-1"], "learning rate"),
        (["--seed_everything=-1"], "seed"),
        (["--seed_everything=true"], "seed_everything is True"),
        (["--trainer.devices=abc"], "devices"),
        (["--trainer.max_epochs=-1"], "cosine needs an end"),
        (["--model.test_bands=-5"], "test_bands is -5"),
        (["--model.loss=ssim", "--data.patch_size=8"], "at least 11 x 11"),
        (["-c", "interpolation.yaml"], "widht"),
        (
            ["--model.network=lightning_ras2s.load_network", "--model.network.path=no.ckpt"],
            "no.ckpt: no such checkpoint",
        ),
        (
            ["--model.network=lightning_ras2s.load_network", "--model.network.path=typo.yaml"],
            "typo.yaml: .*cannot be read",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(args, message, folder, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    torch.save(RAS2S(channels=2).state_dict(), "whole.ckpt")
    (folder / "truncated.ckpt").write_bytes((folder / "whole.ckpt").read_bytes()[:700])
    (folder / "typo.yaml").write_text("model:\n  lrr: 1\n")
    (folder / "interpolation.yaml").write_text("model:\n  learning_rate: ${model.widht}\n")
    assert cli.main(["fit", *files("quickstart"), *args]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "usage" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("error:")]
    assert re.search(message, line), line


def test_wandb_online_without_an_account_is_a_mistake(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    assert cli.main(["fit", *files("quickstart"), *TINY]) == 2
    assert "wandb login" in capsys.readouterr().err


def test_the_defaults_alone_name_no_dataset(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert cli.main(["fit", *files("defaults")]) == 2
    assert "data.class_path" in capsys.readouterr().err


def test_a_config_keeps_the_run_folder_open_only_where_it_is_meant():
    config = {"a": "run", "b": ["run/x", "fast_dev_run"], "c": {"d": "runner", "e": False}}
    assert cli._with_run_dir(config, "run") == {
        "a": "${run_dir}",
        "b": ["${run_dir}/x", "fast_dev_run"],
        "c": {"d": "runner", "e": False},
    }


def test_an_unknown_experiment_names_those_there_are(capsys):
    assert cli.main(["fit", *files("nope")]) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in NAMES)
    assert "defaults" not in error


def test_icvl_trains_validates_and_tests_from_the_publishers_files(folder, capsys):
    raw = folder / "data/icvl/raw"
    raw.mkdir(parents=True)
    icvl.write(raw)
    assert prepare_data(["icvl", "--offline", "--any-size"]) == 2  # 150 scenes are not there
    assert "5 scenes are ready" in capsys.readouterr().err
    small = ("--model.network.channels=2", "--data.patch_size=16", "--data.batch_size=2")
    here = ("--data.num_workers=0", "--trainer.accelerator=cpu")
    code = cli.main(["fit", *files("icvl_mixture"), "--trainer.max_steps=5", *small, *here])
    assert code == 0
    run = only_run(folder)
    with (run / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    scenes = [*scene_list("icvl_test")[:2], "mean"]
    expected = {("icvl", "mixture", m, s) for m in ("Noisy", "RAS2S") for s in scenes}
    assert {tuple(row.values())[:4] for row in rows} == expected
    with (run / "metrics.csv").open() as file:
        logged = [row["val/psnr_db"] for row in csv.DictReader(file) if row["val/psnr_db"]]
    assert len(logged) == 1
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


PREPARED = ["icvl_mixture", "icvl_blind", "icvl_gaussian50", "cave_mixture", "wdc_mixture"]
TEST_ONLY = ["urban_real", "kaist_five_cases", "table2"]


@pytest.mark.parametrize("name", [*PREPARED, "realhsi", *TEST_ONLY])
def test_missing_data_tells_what_how_big_and_the_command(name, capsys):
    command = "test" if name in TEST_ONLY else "fit"
    assert cli.main([command, *files(name), "--trainer.accelerator=cpu"]) == 2
    message = capsys.readouterr().err
    assert "is not prepared" in message
    assert re.search(r"make data DATASET=\w+ +gets it \([\d.]+ (GB|MB)\)", message)
    assert len(message.splitlines()) <= 20


def test_a_folder_that_is_not_there_is_told(folder, capsys):
    assert cli.main(["fit", *files("folder"), "--data.path=nowhere"]) == 2
    assert "nowhere: there is no such folder" in capsys.readouterr().err
