"""What people look at during and after a run, one file each."""

from lightning_ras2s.callbacks.bandwise_quality import BandwiseQuality
from lightning_ras2s.callbacks.checkpoints import Checkpoints
from lightning_ras2s.callbacks.denoised_files import DenoisedFiles
from lightning_ras2s.callbacks.denoised_scenes import DenoisedScenes
from lightning_ras2s.callbacks.evaluation_table import EvaluationTable
from lightning_ras2s.callbacks.inspector import Inspector
from lightning_ras2s.callbacks.memory_advice import MemoryAdvice
from lightning_ras2s.callbacks.model_artifact import ModelArtifact
from lightning_ras2s.callbacks.progress_bar import ProgressBar
from lightning_ras2s.callbacks.region_masks import RegionMasks
from lightning_ras2s.callbacks.spectral_curves import SpectralCurves
from lightning_ras2s.callbacks.throughput import Throughput
from lightning_ras2s.callbacks.training_budget import TrainingBudget

__all__ = [
    "BandwiseQuality",
    "Checkpoints",
    "DenoisedFiles",
    "DenoisedScenes",
    "EvaluationTable",
    "Inspector",
    "MemoryAdvice",
    "ModelArtifact",
    "ProgressBar",
    "RegionMasks",
    "SpectralCurves",
    "Throughput",
    "TrainingBudget",
]
