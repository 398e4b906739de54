"""Writes the miniature of a dataset where `make data` looks for the publisher's files."""

import sys
from pathlib import Path

from tests.miniatures import (
    cave,
    harvard,
    icvl,
    kaist,
    pavia_centre,
    realhsi,
    urban,
    wdc_mall,
)

WRITERS = {
    "cave": cave.write,
    "harvard": harvard.write,
    "icvl": icvl.write,
    "kaist": kaist.write,
    "pavia_centre": pavia_centre.write,
    "realhsi": realhsi.write,
    "urban": urban.write,
    "wdc_mall": wdc_mall.write,
}


def main(dataset, data_root):
    raw = Path(data_root) / dataset / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    WRITERS[dataset](raw)
    print(f"{dataset}: in {raw}")  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in WRITERS:
        sys.exit(f"usage: python -m tests.miniatures {{{','.join(WRITERS)}}} DATA_ROOT")
    main(*sys.argv[1:])
