from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import WandbLogger

from lightning_ras2s.callbacks import ModelArtifact


@pytest.mark.parametrize(
    ("score", "told"),
    [(torch.tensor(31.5), 31.5), (torch.tensor(float("-inf")), None), (None, None)],
)
def test_the_best_checkpoint_is_kept_whatever_its_score(tmp_path, monkeypatch, score, told):
    kept = []

    class Recorder(WandbLogger):
        def __init__(self):
            pass

        experiment = SimpleNamespace(
            id="abc", log_artifact=lambda artifact, aliases: kept.append((artifact, aliases))
        )

    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb"))
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    checkpoint = SimpleNamespace(
        best_model_path=str(tmp_path / "best.ckpt"), best_model_score=score, monitor="val/psnr_db"
    )
    trainer = SimpleNamespace(checkpoint_callback=checkpoint, loggers=[Recorder()])
    ModelArtifact().on_fit_end(trainer, None)
    ((artifact, aliases),) = kept
    assert (artifact.name, artifact.type, aliases) == ("model-abc", "model", ["best", "latest"])
    assert artifact.metadata == {"monitor": "val/psnr_db", "score": told}
    assert list(artifact.manifest.entries) == ["best.ckpt"]


def test_without_a_checkpoint_nothing_is_logged():
    ModelArtifact().on_fit_end(SimpleNamespace(checkpoint_callback=None, loggers=[None]), None)
