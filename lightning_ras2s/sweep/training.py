"""One training of a sweep: a process of its own, and the metric that it logs."""

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lightning_ras2s.runs.folder import METRICS_FILE, RECORD

POLL_S = 0.5
GRACE_S = 30.0  # from the request to end to the end by force
LOG = "output.log"


class Training:
    """Runs a command; all that it prints goes into ``output.log`` of its folder.

    Args:
        command: The command line, without the folder.
        run_dir: The training's folder, given to it as ``--run_dir``.
        metric: Which column of ``metrics.csv`` to follow.
        environment: Further environment variables.
    """

    def __init__(
        self, command: Sequence[str], run_dir: Path, metric: str, environment: Mapping[str, str]
    ) -> None:
        self.run_dir, self.metric = run_dir, metric
        with (run_dir / LOG).open("wb") as log:
            self.process = subprocess.Popen(
                [*command, run_dir_option(run_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # a group: the processes that Lightning launches end too
            )

    def has_ended(self) -> bool:
        """Waits a moment for the end; shows by the time of the log that somebody waits."""
        (self.run_dir / LOG).touch()
        try:
            self.process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def validations(self) -> list[tuple[int, float]]:
        """(epoch, from 1; value of the metric) of each validation logged so far."""
        try:
            text = (self.run_dir / METRICS_FILE).read_text()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1]  # the last line may be half written
        rows = csv.DictReader(io.StringIO(whole))
        return [
            (int(row.get("epoch") or 0) + 1, float(row[self.metric]))
            for row in rows
            if row.get(self.metric)
        ]

    def end(self) -> None:
        """Asks a training that still runs to end, after a while by force."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _status(self) -> str | None:
        """How the training says that it has ended: a signal may end it with exit code 0."""
        try:
            return json.loads((self.run_dir / RECORD).read_text()).get("status")
        except FileNotFoundError:
            return None

    def has_finished(self) -> bool:
        """Whether an ended training says that it came to its end."""
        return self.process.returncode == 0 and self._status() == "finished"

    def has_failed(self) -> bool:
        """Whether an ended training shows that it did not come to its end."""
        return self.process.returncode != 0 or self._status() not in (None, "finished")

    def problem(self) -> str:
        """Why an ended training has no result: its exit code and the last line that it printed."""
        code, values = self.process.returncode, [value for _, value in self.validations()]
        if values and all(value != value for value in values):
            return f"{self.metric} was not a number in {self.run_dir / METRICS_FILE}"
        if code == 0 and not self.has_failed():
            return f"it logged no {self.metric} in {self.run_dir / METRICS_FILE}"
        lines = (self.run_dir / LOG).read_text(errors="replace").split("\n")
        last = next(
            (line.strip() for line in reversed(lines) if line.strip()), "it printed nothing"
        )
        if code in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
            how = "ended from outside by a signal"
        else:
            how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        return f"{how}, {last}"


def run_dir_option(run_dir: Path) -> str:
    """The option that gives a training its folder."""
    return f"--run_dir={run_dir}"


def kill_orphan(pid: int, run_dir: Path) -> None:
    """Kills the training of a runner that was killed itself, if the process still is that."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if run_dir_option(run_dir).encode() in words:
            os.killpg(pid, signal.SIGKILL)
