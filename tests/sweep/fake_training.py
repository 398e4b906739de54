"""Behaves like a training towards a sweep: quick, and with a score that follows from its options.

After epoch e its score is x + e, but in the end, which is worse than what came before.
"""

import os
import signal
import sys
import time
from pathlib import Path

options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
x, run_dir = float(options["x"]), Path(options["run_dir"])


def chosen(variable):
    """Whether an environment variable names this training's x."""
    return float(os.environ.get(variable, "nan")) == x


(run_dir / "config.yaml").write_text(f"x: {x}\n")
(run_dir / "argv").write_text("\0".join(sys.argv[1:]))
(run_dir / "pid").write_text(str(os.getpid()))
signal.alarm(200)  # whatever goes wrong, it ends
if "MEET" in os.environ:
    while len(list(run_dir.parent.glob("*/pid"))) < int(os.environ["MEET"]):
        time.sleep(0.01)
    (run_dir / "device").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "any"))
if chosen("FAIL_AT"):
    sys.stdout.write("loading\nerror: no memory left\n\n")
    sys.exit(3)
with (run_dir / "metrics.csv").open("w", buffering=1) as file:
    file.write("epoch,train/loss,val/score\n")
    for epoch, score in enumerate((x + 1, x + 2, x)):
        file.write(f"{epoch},0.5,\n{epoch},,{score}\n")
        if chosen("STOP_AT"):
            os.kill(os.getppid(), signal.SIGTERM)
        if chosen("QUIT_AT"):  # as Lightning ends at a signal: with exit code 0
            (run_dir / "run.json").write_text(f'{{"status": "{os.environ["STATUS"]}"}}')
            sys.exit(0)
        if chosen("STOP_AT") or chosen("HOLD_AT"):
            signal.pause()
