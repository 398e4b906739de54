"""What people look at during and after a run, one file each."""

from lightning_ras2s.callbacks.denoised_files import DenoisedFiles
from lightning_ras2s.callbacks.evaluation_table import EvaluationTable

__all__ = ["DenoisedFiles", "EvaluationTable"]
