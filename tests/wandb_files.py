"""Reads what W&B has written offline; call `wandb.finish()` and `wandb.teardown()` before."""

import json
import struct

BLOCK = 32768  # bytes, of a LevelDB log behind 7 bytes of W&B's own; no header crosses its end
HEADER = struct.Struct("<IHB")  # checksum, length, kind
WHOLE, LAST = 1, 4  # kinds that complete a record


def records(path):
    """The records of a .wandb file, in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place + HEADER.size <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER.size:
            place += left
            continue
        _, length, kind = HEADER.unpack_from(data, place)
        place += HEADER.size + length
        parts += data[place - length : place]
        if kind in (WHOLE, LAST):
            yield Record.FromString(parts)
            parts = b""


def history(path):
    """What was logged, a dict for each call of `log`; a picture is several keys: key.path, ..."""
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            yield {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}


class WandbFiles:
    """The only run below a folder.

    Attributes:
        files: Its folder of media.
        records: All there are.
        history: What was logged, a dict by key for each call.
        config: Likewise, all that was set.
    """

    def __init__(self, folder):
        (path,) = folder.glob("**/wandb/offline-run-*/run-*.wandb")
        self.files = path.parent / "files"
        self.records = list(records(path))
        self.history = [
            _merge({}, record.history.item)
            for record in self.records
            if record.WhichOneof("record_type") == "history"
        ]
        self.config = {}
        for record in self.records:
            if record.WhichOneof("record_type") in ("run", "config"):
                holder = record.run.config if record.HasField("run") else record.config
                _merge(self.config, holder.update)

    def logged(self, key):
        """The values of a key, one for each time that it was logged."""
        return [row[key] for row in self.history if key in row]

    def table(self, key):
        """The last table of a key: columns and rows."""
        path = self.files / self.logged(key)[-1]["path"]
        return json.loads(path.read_text())


def _merge(tree, items):
    """Puts items into a dict of dicts; keeps what they do not name."""
    for item in items:
        *path, key = item.nested_key or [item.key]
        branch = tree
        for step in path:
            branch = branch.setdefault(step, {})
        value = json.loads(item.value_json)
        both = isinstance(value, dict) and isinstance(branch.get(key), dict)
        branch[key] = branch[key] | value if both else value
    return tree
