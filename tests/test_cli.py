"""The command line, run as a user would: experiments, overrides, mistakes, the run's folder."""

import csv
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import callbacks
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image

from datamodules import IndianPines
from datamodules.__main__ import main as prepare_data
from datamodules.collection import scene_list
from lightning_ras2s import RAS2S, HSIDenoiser, cli, experiment, load_network
from lightning_ras2s.runs.config import _with_run_dir
from lightning_ras2s.runs.start import RUN_DIR
from tests.cubes import FOLDER, write_cubes
from tests.miniatures import icvl
from tests.wandb_files import WandbFiles

torch.set_num_threads(1)

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
NAMES = sorted(p.stem for p in EXPERIMENTS.glob("*.yaml") if p.stem != "defaults")
NAMES += sorted(f"rivals/{p.stem}" for p in EXPERIMENTS.glob("rivals/*.yaml"))
TINY = (
    "--model.network.channels=2",
    "--trainer.max_steps=2",
    "--data.patches_per_epoch=16",
    "--seed_everything=5",
    "--data.test_noise=[mixture]",
    "--trainer.accelerator=cpu",
)


def isolate(monkeypatch, folder):
    """In a folder and with an environment of its own, without a W&B account."""
    monkeypatch.chdir(folder)
    for variable in [v for v in os.environ if v.startswith("WANDB")]:
        monkeypatch.delenv(variable)
    set_by_the_command = ("DATA_DIR", "CACHE_DIR", "ARTIFACT_DIR", "SILENT", "RUN_ID")
    for variable in (f"WANDB_{name}" for name in set_by_the_command):
        monkeypatch.setenv(variable, "")  # restored afterwards
        monkeypatch.delenv(variable)
    monkeypatch.setenv("NETRC", str(folder / "no_netrc"))
    monkeypatch.setenv(RUN_DIR, "")
    monkeypatch.setattr("sys.argv", ["lightning_ras2s"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test by itself."""
    isolate(monkeypatch, tmp_path)
    yield tmp_path
    import wandb

    wandb.teardown()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run that the quickstart leaves."""
    import wandb

    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, folder)
        assert cli.main(["fit", *files("quickstart"), *TINY]) == 0
        wandb.teardown()  # flushes W&B's file
    assert [path.name for path in folder.iterdir()] == ["runs"]
    return only_run(folder)


def files(name):
    return ["-c", str(EXPERIMENTS / "defaults.yaml"), "-c", str(EXPERIMENTS / f"{name}.yaml")]


def train_on_cubes(folder, *options):
    """A training of seconds, where it does not matter on what."""
    if not (folder / "cubes").exists():
        write_cubes(folder / "cubes")
    few = ("--data.patches_per_epoch=16", "--trainer.max_steps=1")
    return cli.main(["fit", *files("folder"), *FOLDER, *few, *options])


BARE = tuple(f"--{name}=null" for name in ("scenes", "spectra", "regions", "bandwise", "inspector"))


def train_quickly(folder, *options):
    """The same without pictures, with +S left out: where it does not matter what is looked at."""
    few = ("--model.methods=[ras2s]", "--data.test_noise=[stripe]", "--progress_bar=null")
    return train_on_cubes(folder, *BARE, *few, *options)


def printed_config(capsys, *args):
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", *args, "--print_config"])
    assert end.value.code in (0, None)
    return yaml.safe_load(capsys.readouterr().out)


def only_run(folder):
    (run,) = folder.glob("runs/*/*")
    return run


def test_fit_trains_tests_and_leaves_a_complete_run_that_its_config_reruns(trained, folder):
    run = trained
    assert run.parent.name == "quickstart"
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    with (run / "metrics.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert any(float(row["val/psnr_db"] or 0) > 10 for row in logged)
    with (run / "evaluation.csv").open() as file:
        evaluation = list(csv.DictReader(file))
    assert {row["method"] for row in evaluation} == {"Noisy", "Median", "RAS2S", "RAS2S+S"}
    assert {row["scene"] for row in evaluation} == {"indian_pines_test", "mean"}
    assert {row["noise_case"] for row in evaluation} == {"mixture"}
    noisy = next(row for row in evaluation if row["method"] == "Noisy")
    assert 13 < float(noisy["psnr_db"]) < 15

    logged = WandbFiles(run)
    assert logged.config["config"]["model"]["network"]["init_args"]["channels"] == 2
    assert "git_commit" in logged.config
    assert logged.logged("val/psnr_db")
    assert logged.table("evaluation")["data"][-1][2:4] == ["RAS2S+S", "mean"]
    records = logged.records
    artifacts = [r.artifact for r in records if r.HasField("artifact")]
    (model,) = [artifact for artifact in artifacts if artifact.type == "model"]
    (kept,) = model.manifest.contents
    assert set(model.aliases) == {"best", "latest"}
    assert Path(kept.local_path).read_bytes() == (run / "checkpoints/best.ckpt").read_bytes()

    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["error"]) == ("finished", None)
    assert record["started"] <= record["finished"]
    assert shlex.split(record["command"])[1:] == ["fit", *files("quickstart"), *TINY]
    assert record["wandb"]["id"] == next(r.run.run_id for r in records if r.HasField("run"))
    scenes = {"train_scenes": 1, "val_scenes": 1, "test_scenes": 1}
    assert record["data"] == {"name": "indian_pines", **scenes}
    assert record["hardware"]["device"] == "CPU"

    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["seed_everything"] == 5
    assert "seed" not in saved["data"]["init_args"]  # it is seed_everything

    assert cli.main(["fit", "-c", str(run / "config.yaml")]) == 0
    again = only_run(folder)
    assert again.parent.name == "quickstart"
    assert (again / "evaluation.csv").read_bytes() == (run / "evaluation.csv").read_bytes()
    assert [path.name for path in folder.iterdir()] == ["runs"]


def test_wandb_holds_what_the_best_weights_make_of_the_test_scene(trained):
    run = trained
    logged = WandbFiles(run)
    data = IndianPines(test_noise=["mixture"])
    data.setup("test")
    noisy = data.test_set[0]["noisy"][None]
    network = load_network(run / "checkpoints" / "best.ckpt")
    name = "indian_pines_test mixture"

    clean = data.test_set[0]["clean"][None]
    for source, seen, cube in (("encoded", "noisy", noisy), ("embedding", "clean", clean)):
        masks = network.region_masks(cube, source=source)
        key = f"regions/test/{name} {source} of {seen}"
        panel = logged.logged(key)[-1]
        for number, band in enumerate((25, 75, 125, 175)):
            assert panel["captions"][number].startswith(f"band {band}, ")
            for kind in ("spatial", "spectral"):
                file = logged.files / panel["all_masks"][number][kind]["path"]
                expected = getattr(masks, kind)[0, band].numpy()
                np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)
            labels = logged.config["_wandb"]["mask/class_labels"][f"{key}_wandb_delimeter_{kind}"]
            assert labels["value"] == {"0": "region 0", "1": "region 1", "2": "region 2"}

    with torch.inference_mode():
        denoised = network(noisy)[0]
    order = data.scenes("test")[0].wavelengths.argsort(kind="stable")
    tables = {key for row in logged.history for key in row if "Tables/spectra/test/" in key}
    assert len(tables) == 4
    for key in tables:
        pixel = re.search(r"pixel (\d+),(\d+)_table", key)
        table = logged.table(key)["data"]
        spectrum = [value for _, line, value in table if line == "RAS2S"]
        expected = denoised[order, int(pixel[1]), int(pixel[2])]
        np.testing.assert_allclose(spectrum, expected, rtol=1e-5, atol=1e-6)

    (page,) = (run / "inspector").iterdir()
    held = logged.files / logged.logged("inspector/test/indian_pines_test")[-1]["path"]
    assert held.read_bytes() == page.read_bytes()
    report = (run / "report.html").read_text()
    assert "inspector/indian_pines_test.html" in report


def test_what_is_looked_at_is_chosen_by_flags(folder, capsys):
    given = ["--spectra.pixels=[[3, 7], [999, 0]]", "--regions.bands=[5]", "--seed_everything=5"]
    shown = printed_config(capsys, *files("quickstart"), *given)
    assert shown["spectra"]["init_args"]["pixels"] == [[3, 7], [999, 0]]
    with pytest.warns(UserWarning, match="has no pixel 999,0"):
        assert train_on_cubes(folder, *given) == 0

    import wandb

    wandb.teardown()  # flushes the file
    keys = {key for row in WandbFiles(only_run(folder)).history for key in row}
    name = "spectra/test/test/test0 mixture"
    assert {key for key in keys if key.startswith(f"Custom Chart Tables/{name}")} == {
        f"Custom Chart Tables/{name} pixel 3,7_table"
    }


def trainer_of(monkeypatch, *args):
    """The trainer that a command makes, without what it does."""
    made = []
    monkeypatch.setattr(experiment.L.Trainer, "fit", lambda self, *_, **__: made.append(self))
    monkeypatch.setattr(experiment.RAS2SCLI, "after_fit", lambda self: None)
    assert cli.main(["fit", *files("quickstart"), *args]) == 0
    return made[0]


def kinds(trainer):
    found = {type(callback).__name__ for callback in trainer.callbacks}
    return found - {"ModelSummary", "RichModelSummary", "SaveRunConfig"}


OURS = {"LearningRateMonitor", "DeviceStatsMonitor", "ProgressBar", "Checkpoints", "Throughput"}
OURS |= {"MemoryAdvice", "ModelArtifact", "EvaluationTable", "DenoisedFiles", "DenoisedScenes"}
OURS |= {"SpectralCurves", "RegionMasks", "BandwiseQuality", "Inspector"}


@pytest.mark.parametrize("many", [False, True])
def test_an_experiments_own_callbacks_come_beside_ours(many, folder, monkeypatch):
    stopping = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/psnr_db"}}
    own = {
        "trainer": {"callbacks": [stopping, {"class_path": "LambdaCallback"}] if many else stopping}
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(own))
    found = kinds(trainer_of(monkeypatch, "-c", "own.yaml"))
    assert found - {"LambdaCallback"} == {"EarlyStopping"} | OURS
    assert ("LambdaCallback" in found) == many


def test_null_switches_a_callback_off_and_nothing_takes_its_place(folder, monkeypatch):
    off = ("--checkpoints=null", "--progress_bar=null", "--spectra=null", "--throughput=null")
    found = kinds(trainer_of(monkeypatch, *off))
    gone = {"Checkpoints", "ProgressBar", "SpectralCurves", "Throughput"}
    assert found == OURS - gone


def test_a_callback_may_be_another_of_its_kind(folder, monkeypatch):
    own = "--trainer.callbacks=lightning.pytorch.callbacks.RichProgressBar"
    found = kinds(trainer_of(monkeypatch, "--progress_bar=null", own))
    assert "RichProgressBar" in found
    assert "ProgressBar" not in found


def test_what_callbacks_write_lies_in_the_runs_folder(folder, monkeypatch):
    trainer = trainer_of(monkeypatch, "--run_dir=here/run")
    at = {type(c).__name__: Path(c.folder) for c in trainer.callbacks if hasattr(c, "folder")}
    run = Path("here/run")
    assert at == {
        "EvaluationTable": run,
        "DenoisedFiles": run / "denoised",
        **dict.fromkeys(
            ("DenoisedScenes", "SpectralCurves", "RegionMasks", "BandwiseQuality"), run / "pictures"
        ),
        "Inspector": run / "inspector",
        "Checkpoints": run / "checkpoints",
    }


def test_a_run_that_fails_says_so_in_its_record(folder, capsys):
    diverges = ("--model.learning_rate=1e38", "--model.max_skips=1")
    assert cli.main(["fit", *files("quickstart"), *TINY, *diverges]) == 2
    record = json.loads((only_run(folder) / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["error"].startswith("the loss is ")
    assert f"error: {record['error']}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (KeyboardInterrupt(), "stopped", None),
        (SIGTERMException(), "stopped", None),
        (RuntimeError("out of luck"), "failed", "RuntimeError: out of luck"),
    ],
    ids=["Ctrl-C", "SIGTERM", "bug"],
)
def test_the_record_tells_a_run_that_was_stopped_from_one_that_failed(
    raised, status, error, folder, monkeypatch
):
    def training_step(self, batch, batch_idx):
        raise raised

    monkeypatch.setattr(HSIDenoiser, "training_step", training_step)
    try:
        code = cli.main(["fit", *files("quickstart"), *TINY])
    except (SystemExit, RuntimeError) as end:
        code = getattr(end, "code", 1)
    assert code == (143 if isinstance(raised, SIGTERMException) else 1)
    record = json.loads((only_run(folder) / "run.json").read_text())
    assert (record["status"], record["error"]) == (status, error)


def test_a_mistake_in_the_folder_of_an_earlier_run_leaves_its_record(folder, capsys):
    assert train_on_cubes(folder) == 0
    run = only_run(folder)
    record = json.loads((run / "run.json").read_text())
    mistake = ["--model.network.attention_bands=4", f"--run_dir={run}"]
    assert train_on_cubes(folder, *mistake) == 2
    assert json.loads((run / "run.json").read_text()) == record


def test_a_validation_that_is_not_finite_ends_no_run(folder):
    assert cli.main(["fit", *files("quickstart"), *TINY, "--seed_everything=3"]) == 0
    with (only_run(folder) / "metrics.csv").open() as file:
        values = [row["val/psnr_db"] for row in csv.DictReader(file)]
    assert "nan" in values  # 2 channels, hardly trained, explode over 200 bands


def test_a_wandb_run_goes_on_under_its_id(folder, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "again123")
    assert train_on_cubes(folder) == 0
    run = only_run(folder)
    assert run.name.endswith("_again123")  # agents of W&B may start in the same second
    assert json.loads((run / "run.json").read_text())["wandb"]["id"] == "again123"


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
        for method in ("Noisy", "Median", "RAS2S", "RAS2S+S")
    }
    for case in ("gaussian50", "mixture"):  # a network with a zero start returns its input
        assert rows[case, "RAS2S"]["psnr_db"] == rows[case, "Noisy"]["psnr_db"]
    assert float(rows["gaussian50", "Noisy"]["psnr_db"]) == pytest.approx(14.15, abs=0.02)


def test_a_set_wandb_mode_wins(folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert train_on_cubes(folder) == 0
    assert not list(only_run(folder).glob("wandb/*run-*"))


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_is_read(name, capsys):
    text = (EXPERIMENTS / f"{name}.yaml").read_text()
    assert text.startswith("# make ")
    if "EMAWeightAveraging" in text and not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("lightning is older than 2.6, see the extra 'weights'")
    config = printed_config(capsys, *files(name))
    assert config["data"]["class_path"].startswith("datamodules.")


def test_later_files_and_flags_reach_what_earlier_files_interpolate(folder, capsys):
    # Parser mode "omegaconf" (without the plus) resolves each file alone: 16 in all three.
    def warmup_steps(*args):
        both = (*files("quickstart"), "-c", "follows.yaml", *args)
        return printed_config(capsys, *both)["model"]["warmup_steps"]

    (folder / "follows.yaml").write_text("model:\n  warmup_steps: ${data.init_args.patch_bands}\n")
    (folder / "later.yaml").write_text("data:\n  init_args:\n    patch_bands: 24\n")
    assert warmup_steps() == 16
    assert warmup_steps("-c", "later.yaml") == 24
    assert warmup_steps("-c", "later.yaml", "--data.patch_bands=8") == 8


def test_the_optimizer_is_chosen_in_yaml_and_its_rate_in_one_place(folder, capsys):
    given = ["--model.optimizer=AdamW", "--model.optimizer.weight_decay=0.1"]
    config = printed_config(capsys, *files("quickstart"), *given)["model"]
    assert config["learning_rate"] == 4e-3
    chosen = config["optimizer"]
    assert chosen["class_path"] == "torch.optim.AdamW"
    assert chosen["init_args"]["weight_decay"] == 0.1
    assert "lr" not in chosen["init_args"]
    shared = printed_config(capsys, *files("quickstart"))["model"]["optimizer"]
    assert shared["class_path"] == "torch.optim.Adam"
    assert shared["init_args"]["betas"] == [0.9, 0.99]
    assert cli.main(["fit", *files("quickstart"), "--model.optimizer.lr=0.1"]) == 2
    assert "lr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model.lrr=1"], "--model.lrr"),
        (["--model.learning_rate=abc"], "model.learning_rate.*float.*abc"),
        (["--data.noize=x"], "'noize' is not accepted"),
        (["--data.path=x"], "'path' is not accepted; another class has it"),
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
        (["--data.init_args.seed=5"], "data.seed follows seed_everything"),
        (["--data.seed", "2018"], "data.seed follows seed_everything"),
        (["--data.init_args={patch_size: 16, seed: 5}"], "data.seed follows seed_everything"),
        (["--regions.folder=here"], "regions.folder lies in the run's folder: set run_dir"),
        (["--spectra.pointss=5"], "pointss"),
        (["--spectra.seed=5"], "spectra.seed follows seed_everything"),
        (["-c", "seed.yaml"], "data.seed follows seed_everything.*data.evaluation_seed"),
        (["--data.evaluation_seed=-1"], "data.evaluation_seed is -1"),
        (["--trainer.devices=abc"], "devices"),
        (["--trainer.max_epochs=-1"], "cosine needs an end"),
        (["--model.methods=[bm3d]"], "unknown method 'bm3d'"),
        (["--model.methods=[median, hsdt]"], "unknown method"),
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
    (folder / "seed.yaml").write_text("data:\n  init_args:\n    seed: 1\n")
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
    assert _with_run_dir(config, "run") == {
        "a": "${run_dir}",
        "b": ["${run_dir}/x", "fast_dev_run"],
        "c": {"d": "runner", "e": False},
    }


def test_an_unknown_experiment_names_those_there_are(capsys):
    assert cli.main(["fit", *files("nope")]) == 2
    error = capsys.readouterr().err
    assert all(name in error for name in NAMES)
    assert "defaults" not in error


def test_icvl_trains_validates_and_tests_from_the_publishers_files(folder, capsys, monkeypatch):
    monkeypatch.delenv("DATA_ROOT")
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
    expected = {("icvl", "mixture", m, s) for m in ("Noisy", "RAS2S", "RAS2S+S") for s in scenes}
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
