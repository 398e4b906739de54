"""Which files an experiment's name means, and the words of the command that stand for options."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path

from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.folder import CONFIG, RUNS

HERE = Path("experiments")
PACKAGE = Path(__file__).parents[1] / "experiments"  # a link to those of the clone, copied by pip
DEFAULTS = "defaults"
RIVALS = "rivals"  # the folder of the recipes of other networks
ENDINGS = (".yaml", ".yml")
WEIGHTS, NETWORK_PATH = "--weights", "--model.network.path"


def find(name: str, kind: str = "experiment", folder: str = "") -> Path:
    """The file of an experiment, or of a sweep.

    Args:
        name: The path of a YAML file, or a name that is looked up in the current folder, in
            ``./experiments`` and in the package.
        kind: What to call it.
        folder: Of such files below ``experiments``.

    Raises:
        UserError: If there is none; tells those that there are.
    """
    path = Path(name)
    if path.suffix in ENDINGS:
        if path.is_file():
            return path
    else:
        places = [Path(), HERE / folder, PACKAGE / folder]
        for place in places:
            if (file := place / f"{name}.yaml").is_file():
                return file
    there = _there(path.parent if path.suffix in ENDINGS else None, folder)
    near = get_close_matches(path.stem, there, n=1)
    meant = f"did you mean {near[0]}? T" if near else "t"
    raise UserError(
        f"there is no {kind} {path.stem!r} ({name}); {meant}here are: "
        f"{', '.join(there) or 'none in that folder; from any folder: ras2s fit quickstart'}"
    )


def _there(beside: Path | None, folder: str) -> list[str]:
    places = [HERE / folder, PACKAGE / folder] if beside is None else [beside]
    names = {p.stem for place in places for p in place.glob("*.yaml")} - {DEFAULTS}
    names |= {f"{RIVALS}/{p.stem}" for place in places for p in (place / RIVALS).glob("*.yaml")}
    return sorted(names)


def defaults() -> Path:
    """What all experiments share: that of ``./experiments``, else that of the package."""
    own = HERE / f"{DEFAULTS}.yaml"
    return own if own.is_file() else PACKAGE / own.name


def spelled_out(args: Sequence[str]) -> list[str]:
    """Puts options in place of an experiment's name and of ``--weights``.

    Raises:
        UserError: If there is no such experiment, or none is named.
    """
    command, *rest = args
    if rest and not rest[0].startswith("-"):
        files = ["-c", str(defaults()), "-c", str(find(rest.pop(0)))]
    else:
        files = []
        named = ("-c", "--config", "--resume", "--help", "-h", "--print_config")
        if not any(arg.split("=")[0] in named for arg in rest):
            names = ", ".join(_there(None, ""))
            raise UserError(
                f"which experiment? ras2s {command} quickstart, for example; there are: {names}"
            )
    return [command, *files, *_with_weights(command, rest)]


def _with_weights(command: str, args: Sequence[str]) -> Iterator[str]:
    words = iter(args)
    for word in words:
        option, equals, path = word.partition("=")
        if option == NETWORK_PATH and equals:
            yield f"{NETWORK_PATH}={_literal(path)}"
            continue
        if option != WEIGHTS:
            yield word
            continue
        path = path if equals else next(words, "")
        if command == "fit":
            raise UserError(
                f"{WEIGHTS} is of test and validate; a training goes on with --resume={path}"
            )
        if not path:
            raise UserError(f"{WEIGHTS}: which? The best.ckpt or the folder of a run, for example")
        yield "--model.network=lightning_ras2s.load_network"
        yield f"{NETWORK_PATH}={_literal(path)}"


def _literal(path: str) -> str:
    """A path that the parser takes as it is: of a file with ``${`` in its name, its address."""
    there = "${" in path and Path(path).exists()
    return Path(path).absolute().as_uri() if there else path


def config_files(args: Sequence[str]) -> list[Path]:
    """The files given with -c.

    Raises:
        UserError: If one of them is not there; tells the experiments that are.
    """
    files = [value for option, value in pairwise(args) if option in ("-c", "--config")]
    return [Path(file) if Path(file).is_file() else find(file) for file in files]


def runs_of(files: Sequence[Path]) -> Path:
    """The folder of an experiment's runs, named after its file.

    A rerun of a run's config.yaml is filed under that run's experiment, one of a sweep's best.yaml
    under the sweep.
    """
    last = files[-1] if files else Path("unnamed.yaml")
    above = {CONFIG: 1, "best.yaml": 0}
    if last.name not in above:
        return RUNS / last.stem
    parents = last.absolute().parents
    return RUNS / (parents[min(above[last.name], len(parents) - 1)].name or last.stem)
