"""Preparing: what is made again and what is not, and what is said of files that cannot be used."""

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from datamodules import __main__ as command
from datamodules import download, source
from datamodules import prepare as preparing
from datamodules.collection import Download, list_files
from datamodules.fetch import RemoteFile
from datamodules.prepare import prepare
from datamodules.scene import DataError
from datamodules.stored import Excerpt, open_scene
from tests.miniatures import __main__ as miniatures
from tests.miniatures.icvl import write_mat
from tests.server import PAGE, error, good, page
from tests.toy import SCENES, SHAPE, cube_of, data_module, put, read_upright, toy

torch.set_num_threads(1)

EVERYTHING = (slice(None), slice(None), slice(None))
AGAIN = "run the same command again"


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """DATA_ROOT."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setattr(download, "BACKOFF", 0)
    return tmp_path / "data"


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def digests(folder):
    return {path: hashlib.sha256((folder / path).read_bytes()).digest() for path in listing(folder)}


def messages(outcome):
    return {problem.scene: problem.message for problem in outcome.problems}


def values_of(collection, scene):
    return open_scene(collection.prepared_folder / scene)[0].scaled(0, 1).read(EVERYTHING)


def run(collection, monkeypatch, *args):
    """The command, with this collection for all there are."""
    monkeypatch.setattr(command, "catalogue", lambda: {collection.name: collection})
    return command.main([collection.name, *args])


# What is made again


def test_scenes_are_made_once_and_training_takes_their_patches(root):
    collection = toy()
    put(collection, *SCENES)
    before = digests(root)
    outcome = prepare(collection)
    assert (outcome.ready, outcome.made) == ([*SCENES], [*SCENES])
    assert not outcome.problems
    assert not outcome.notes
    for scene in SCENES:
        assert np.array_equal(values_of(collection, scene), cube_of(scene))
    after = digests(root)
    assert before.items() <= after.items()
    again = prepare(collection)
    assert (again.ready, again.made, again.problems) == ([*SCENES], [], [])
    assert digests(root) == after
    module = data_module(collection)
    assert {scene.shape for scene in module.scenes("test")} == {SHAPE}
    module.setup("fit")
    for batch in module.train_dataloader():
        out = module.on_after_batch_transfer(batch, 0)
        assert out["noisy"].shape == out["clean"].shape == (2, 4, 6, 6)


def test_a_file_that_was_only_touched_is_not_converted_again(root, monkeypatch):
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    os.utime(collection.raw_folder / "two.mat", ns=(1, 1))
    with pytest.raises(DataError, match=r"two was prepared by .*two\.mat.*make data DATASET=toy"):
        data_module(collection).setup("test")
    monkeypatch.setattr(preparing, "store_scene", lambda *args: pytest.fail("made again"))
    outcome = prepare(collection)
    assert (sorted(outcome.ready), outcome.made) == (sorted(SCENES), [])
    data_module(collection).setup("test")
    monkeypatch.setattr(source, "compute_sha256", lambda path: pytest.fail("hashed again"))
    prepare(collection)


def test_a_file_that_changed_is_converted_again_and_refused_until_then(root):
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    write_mat(collection.raw_folder / "two.mat", cube_of("other"))
    with pytest.raises(DataError, match=rf"{collection.prepared_folder / 'two'} was prepared"):
        data_module(collection).setup("fit")
    outcome = prepare(collection)
    assert (sorted(outcome.ready), outcome.made) == (sorted(SCENES), ["two"])
    assert np.array_equal(values_of(collection, "two"), cube_of("other"))
    data_module(collection).setup("fit")


def test_a_file_that_was_damaged_since_is_not_covered_by_what_was_made_of_it(root):
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    (collection.raw_folder / "two.mat").write_bytes(b"no longer")
    outcome = prepare(collection)
    assert messages(outcome).keys() == {"two"}
    with pytest.raises(DataError, match="two was prepared"):
        data_module(collection).setup("fit")


def test_what_was_made_stays_valid_without_the_raw_files(root, server):
    url = server.url("/one.mat")
    collection = toy(downloads=[Download(RemoteFile("one.mat", (url,)), ("one",))])
    put(collection, *SCENES)
    prepare(collection)
    shutil.rmtree(collection.raw_folder)
    outcome = prepare(collection)
    assert (outcome.ready, outcome.made, outcome.problems) == ([*SCENES], [], [])
    assert not server.requests
    data_module(collection).setup("fit")


@pytest.mark.parametrize("what", ["converter", "excerpt"])
def test_another_converter_or_excerpt_makes_scenes_again(root, monkeypatch, what):
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    if what == "converter":
        monkeypatch.setattr("datamodules.stored.CONVERTER", 1000)
        monkeypatch.setattr("datamodules.collection.CONVERTER", 1000)
    else:
        collection.scenes["two"] = Excerpt(rows=10)
    made = [*SCENES] if what == "converter" else ["two"]
    with pytest.raises(DataError, match=f"{made[0]} was prepared by another version"):
        data_module(collection).setup("fit")
    assert prepare(collection).made == made
    data_module(collection).setup("fit")


@pytest.mark.parametrize("damage", ["absent", "cut off", "edited", "nothing noted"])
def test_a_prepared_scene_that_was_damaged_is_made_again(root, damage):
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    folder = collection.prepared_folder / "two"
    if damage == "absent":
        (folder / "scale_0.5.npy").unlink()
    elif damage == "cut off":
        cut(folder / "scale_1.npy")
    else:
        manifest = json.loads((folder / "scene.json").read_text())
        manifest["arrays"][0]["shape"][1] += 1
        (folder / "scene.json").write_text("{}" if damage != "edited" else json.dumps(manifest))
    with pytest.warns(UserWarning, match=r"2 of the 3 scenes of the train split are prepared"):
        data_module(collection).setup("fit")
    assert prepare(collection).made == ["two"]
    assert np.array_equal(values_of(collection, "two"), cube_of("two"))


def test_a_run_that_was_killed_goes_on_where_it_was(root):
    seen = []

    def read(path):
        seen.append(path.stem)
        if len(seen) == 2:
            raise Killed
        return read_upright(path)

    collection = toy(read=read)
    put(collection, *SCENES)
    with pytest.raises(Killed):
        prepare(collection)
    outcome = prepare(collection)
    assert (sorted(outcome.ready), outcome.made) == (sorted(SCENES), ["two", "three"])
    assert seen == ["one", "two", "two", "three"]


def test_one_process_at_a_time(root):
    collection = toy()
    put(collection, *SCENES)
    folder = re.escape(str(collection.prepared_folder))
    with (
        preparing._alone(collection.prepared_folder),
        pytest.raises(DataError, match=f"{folder} is being prepared by another process; wait"),
    ):
        prepare(collection)
    assert len(prepare(collection).made) == 3


def test_a_disk_without_room_is_noticed_before_anything_is_read(root, monkeypatch):
    collection = toy(read=lambda path: pytest.fail("read"))
    put(collection, *SCENES)
    room = int(2 * 3 * np.prod(SHAPE) * 1.25)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=room - 1))
    with pytest.raises(DataError, match=r"Toy.* needs 9\.6 kB and 9\.6 kB are free.*DATA_ROOT"):
        prepare(collection)
    (collection.raw_folder / "two.mat").unlink()
    with pytest.raises(DataError, match="are free"):
        prepare(collection)
    collection = toy()
    assert prepare(collection, offline=True).made == ["one", "three"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    put(collection, "two")
    assert prepare(collection, any_size=True).made == ["two"]  # nobody knows its size before


def test_downloads_need_room_too(root, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    monkeypatch.setattr("datamodules.prepare.fetch", lambda *args, **options: pytest.fail("asked"))
    urls = ("http://localhost/one.mat",)
    known = [Download(RemoteFile("one.mat", urls, size=10**6), ("one",))]
    with pytest.raises(DataError, match=r"fetching and preparing Toy.* needs 1\.0 MB"):
        prepare(toy(downloads=known))

    def refuse(*args, **options):
        raise DataError("refused")

    monkeypatch.setattr("datamodules.prepare.fetch", refuse)
    unknown = [Download(RemoteFile("one.mat", urls), ("one",))]
    with caplog.at_level("WARNING"):
        outcome = prepare(toy(downloads=unknown, size=2 * 10**6))
    assert "needs 2.0 MB and 1.0 MB are free" in caplog.text
    assert messages(outcome)["one"] == "refused"


def test_a_disk_that_fills_up_stops_the_run_and_the_next_one_goes_on(root, monkeypatch):
    collection = toy()
    put(collection, *SCENES)
    save = np.save

    def save_some(path, array):
        if path.parent.name == "two.part":
            save(path, array[:1])
            raise OSError(28, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", save_some)
    with pytest.raises(DataError, match=r"prepared cannot be written .*No space.*DATA_ROOT"):
        prepare(collection)
    assert sorted(path.name for path in collection.prepared_folder.iterdir()) == [".lock", "one"]
    monkeypatch.undo()
    monkeypatch.setenv("DATA_ROOT", str(root))
    assert prepare(collection).made == ["two", "three"]


def test_a_folder_that_cannot_be_written_is_named(root):
    root.write_text("a file")
    with pytest.raises(DataError, match=rf"{root}/toy/prepared cannot be written .*DATA_ROOT"):
        prepare(toy())


# Files that cannot be used


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def spoiled(scene, value):
    cube = cube_of(scene)
    cube[2, 5, 7] = value
    return cube


@pytest.fixture
def damaged():
    """A raw folder with a file of every kind, and what is said of each that cannot be used."""
    expected = {
        "cut_v73": "cannot be read as MATLAB v7.3 .*fetch or copy it again",
        "cut_v5": "cannot be read as MATLAB v5 .*fetch or copy it again",
        "empty": "cannot be read as MATLAB v5 .*fetch or copy it again",
        "page": "cannot be read as MATLAB v5 .*fetch or copy it again",
        "bands": rf"expected 4 x 20 x 16 \(bands.*found 3 x 20 x 16 .*{AGAIN}$",
        "turned": rf"expected 4 x 20 x 16 .*found 4 x 16 x 20 .*--any-size.*{AGAIN}",
        "nan": rf"1 of 1280 values are NaN or Inf, the first at band 2, row 5, column 7; .*{AGAIN}",
        "inf": rf"1 of 1280 values are NaN or Inf, the first at band 2, row 5, column 7; .*{AGAIN}",
        "constant": rf"every value is 5; .*{AGAIN}",
        "odd": r"values from .* to 5000, expected 0 to 4095; used as it is",
    }
    good_ones = ("plain", "v73_as_v5", "v5", "odd")
    collection = toy(
        scenes={
            name: Excerpt(scales=(1.0, 0.5)) for name in (*expected, *good_ones, "absent", "twice")
        }
    )
    raw = collection.raw_folder
    put(collection, "plain", "cut_v73", "v73_as_v5")
    cut(raw / "cut_v73.mat")
    with (raw / "v73_as_v5.mat").open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file")
    for name in ("v5", "cut_v5"):
        lying = np.rot90(cube_of(name), -1, axes=(1, 2)).transpose(1, 2, 0)
        scipy.io.savemat(raw / f"{name}.mat", {"rad": lying.astype(np.float64)})
    cut(raw / "cut_v5.mat")
    (raw / "empty.mat").write_bytes(b"")
    (raw / "page.mat").write_bytes(PAGE)
    write_mat(raw / "bands.mat", cube_of("bands", (3, 20, 16)))
    write_mat(raw / "turned.mat", cube_of("turned", (4, 16, 20)))
    write_mat(raw / "nan.mat", spoiled("nan", np.nan))
    write_mat(raw / "inf.mat", spoiled("inf", -np.inf))
    write_mat(raw / "constant.mat", np.full(SHAPE, 5.0))
    write_mat(raw / "odd.mat", spoiled("odd", 5000))
    for folder in ("a", "b"):
        (raw / folder).mkdir()
        write_mat(raw / folder / "twice.mat", cube_of("twice"))
    return collection, expected, good_ones


def test_every_problem_is_told_at_the_end_and_the_good_scenes_are_ready(
    damaged, monkeypatch, capsys
):
    collection, expected, good_ones = damaged
    raw = collection.raw_folder
    assert run(collection, monkeypatch) == 2
    told = capsys.readouterr().err
    for name, message in expected.items():
        assert re.search(rf"^(note: )?{raw / name}\.mat: .*{message}", told, re.MULTILINE), name
        assert (f"1 not ready: {name}\n" in told) == (name not in good_ones), name
    twice = f"two files for one scene: {raw}/a/twice.mat and {raw}/b/twice.mat; keep one of them"
    assert f"1 not ready: twice\n{twice}" in told
    assert f"1 not ready: absent\nno file of this name in {raw}; put it there and run make" in told
    assert "toy: 4 scenes are ready, 4 of them made now, 11 are not" in told
    for name in good_ones:
        cube = spoiled("odd", 5000) if name == "odd" else cube_of(name)
        assert np.array_equal(values_of(collection, name), cube), name
    assert not list(collection.prepared_folder.glob("*.part"))
    module = data_module(collection, patches_per_epoch=200)
    with pytest.warns(UserWarning, match=r"4 of the 15 scenes of the train split are prepared"):
        module.setup("fit")
    taken = {name for batch in module.train_dataloader() for name in batch["name"]}
    assert taken == {*good_ones}


def test_a_second_file_for_a_scene_is_told_also_once_it_is_prepared(root):
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    (collection.raw_folder / "copy").mkdir()
    write_mat(collection.raw_folder / "copy" / "two.mat", cube_of("two"))
    told = "two files for one scene: .*/copy/two.mat and .*/two.mat; keep one of them"
    assert re.match(told, messages(prepare(collection))["two"])
    with pytest.raises(DataError, match=told):
        data_module(collection).setup("fit")
    shutil.rmtree(collection.raw_folder / "copy")
    assert prepare(collection).made == []


def test_a_size_that_is_not_the_publishers_is_taken_when_told_so(damaged):
    collection, _, _ = damaged
    outcome = prepare(collection, any_size=True)
    assert "turned" in outcome.made
    assert "expected 4 x 20 x 16" in messages(outcome)["bands"]
    assert open_scene(collection.prepared_folder / "turned")[0].shape == (4, 16, 20)


def test_a_box_that_a_scene_does_not_have_names_the_file(root):
    collection = toy(scenes={"one": Excerpt(rows=(0, 21))}, shape=None)
    put(collection, "one")
    (message,) = messages(prepare(collection)).values()
    expected = f"{collection.raw_folder / 'one.mat'}: has 20 rows, and those from 0 to 21"
    assert message.startswith(expected)


def test_wavelengths_that_are_not_one_a_band_are_told(root):
    collection = toy(read=lambda path: (read_upright(path)[0], np.arange(3.0)))
    put(collection, "one")
    assert f"one.mat: 3 wavelengths for 4 bands; delete the file and {AGAIN}" in str(
        messages(prepare(collection))["one"]
    )


@pytest.mark.parametrize("value", [-5, 4096])
def test_values_that_are_not_expected_are_noted(root, value):
    collection = toy()
    put(collection, "two", "three")
    write_mat(collection.raw_folder / "one.mat", spoiled("one", value))
    outcome = prepare(collection)
    assert outcome.made == [*SCENES]
    (note,) = outcome.notes
    assert re.match(rf".*/one\.mat: values .*{value}.*, expected 0 to 4095", note)


def test_wavelengths_of_the_publisher_stand_in_for_those_that_a_file_lacks(root):
    collection = toy(wavelengths=np.array([1.0, 2.0, 3.0, 4.0]))
    put(collection, "one")
    (collection.raw_folder / "two.mat").write_bytes(as_mat("two"))
    prepare(collection)
    found = [
        open_scene(collection.prepared_folder / name)[0].wavelengths.tolist()
        for name in ("one", "two")
    ]
    assert found == [[400, 410, 420, 430], [1, 2, 3, 4]]


def test_a_scene_larger_than_the_memory_does_not_stop_the_others(root):
    def read(path):
        if path.stem == "two":
            raise MemoryError
        return read_upright(path)

    collection = toy(read=read)
    put(collection, *SCENES)
    outcome = prepare(collection)
    assert outcome.made == ["one", "three"]
    assert messages(outcome) == {
        "two": f"{collection.raw_folder}/two.mat: does not fit into the memory of this machine"
    }


def test_a_file_that_may_not_be_read_does_not_stop_the_others(root, monkeypatch):
    collection = toy()
    put(collection, *SCENES)
    compute = source.compute_sha256

    def forbidden(path):
        if path.stem == "two":
            raise PermissionError(13, "Permission denied")
        return compute(path)

    monkeypatch.setattr(source, "compute_sha256", forbidden)
    outcome = prepare(collection)
    assert outcome.made == ["one", "three"]
    assert re.match(r".*/two\.mat: cannot be read .*denied.*permissions", messages(outcome)["two"])


# Which files are scenes


def test_files_are_found_below_raw_by_name_and_others_are_passed_over(root):
    raw = root / "raw"
    files = ["a.mat", "deep/er/b.tif", "pair.hdr", "pair.img", "both.mat", "both.hdr", "both.raw"]
    files += ["notes.txt", ".hidden.mat", "cut.mat.part", "x.part/c.mat", "pngs/p_1.png", "a.jpg"]
    for name in files:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"")
    (raw / "gone.mat").symlink_to(root / "unmounted.mat")
    found = list_files(raw)
    listed = {
        name: [str(path.relative_to(raw)) for path in paths]
        for name, paths in found.items()
        if "/" not in name
    }
    assert listed == {
        "a": ["a.mat"],
        "b": ["deep/er/b.tif"],
        "pair": ["pair.hdr"],
        "both": ["both.hdr", "both.mat"],
        "pngs": ["pngs"],
    }
    assert [path.name for path in found["er/b"]] == ["b.tif"]
    assert not list_files(root / "nowhere")


def test_files_of_one_name_in_several_folders_are_told_apart(root):
    collection = toy(
        scenes={"one": Excerpt(), "two": Excerpt()}, sources={"one": "a/cube", "two": "b/cube"}
    )
    for folder, scene in {"a": "one", "b": "two"}.items():
        (collection.raw_folder / folder).mkdir(parents=True)
        write_mat(collection.raw_folder / folder / "cube.mat", cube_of(scene))
    assert prepare(collection).made == ["one", "two"]
    assert np.array_equal(values_of(collection, "two"), cube_of("two"))


# From the publisher


def as_mat(scene):
    with io.BytesIO() as file:
        with h5py.File(file, "w", userblock_size=512) as opened:
            values = cube_of(scene)[:, ::-1].astype(np.float64)
            item = opened.create_dataset("rad", data=values)
            item.attrs["MATLAB_class"] = np.bytes_("double")
        return file.getvalue()


def as_zip(*scenes):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for scene in scenes:
                archive.writestr(f"folder/{scene}.mat", as_mat(scene))
        return file.getvalue()


@pytest.fixture
def offered(server):
    """The toy scenes as a publisher has them: a file with three mirrors, and a zip of two."""
    file, archive = as_mat("one"), as_zip("two", "three")
    digest = hashlib.sha256(file).hexdigest()
    mirrors = tuple(server.url(f"/{place}/one.mat") for place in ("page", "wrong", "slow"))
    server.on(page(), path="/page/one.mat")
    server.on(good(as_mat("other")), path="/wrong/one.mat")
    server.on(good(file, cut=4_000, chunk=500), good(file, chunk=500), path="/slow/one.mat")
    server.on(good(archive, cut=7_000, chunk=500), good(archive, chunk=500), path="/two.zip")
    return toy(
        downloads=[
            Download(RemoteFile("one.mat", mirrors, digest), ("one",)),
            Download(RemoteFile("two.zip", (server.url("/two.zip"),)), ("two", "three"), True),
        ]
    )


def test_a_dataset_is_fetched_from_mirrors_that_misbehave(offered, server, root, caplog):
    outcome = prepare(offered)
    assert (outcome.made, outcome.problems) == ([*SCENES], [])
    for scene in SCENES:
        assert np.array_equal(values_of(offered, scene), cube_of(scene))
    asked = [(path, headers.get("Range")) for path, headers in server.requests]
    assert asked == [
        ("/page/one.mat", None),
        ("/wrong/one.mat", None),
        ("/slow/one.mat", None),
        ("/slow/one.mat", "bytes=4000-"),
        ("/two.zip", None),
        ("/two.zip", "bytes=7000-"),
    ]
    for told in ('page with the title "Sign in & continue"', "SHA-256", "connection ended after"):
        assert told in caplog.text
    assert prepare(offered).made == []
    shutil.rmtree(offered.prepared_folder)
    assert len(prepare(offered).made) == 3
    assert len(server.requests) == 6
    raw = ["one.mat", "one.mat.sha256", "two.zip", "two.zip.sha256"]
    unpacked = ["two/.unpacked", "two/folder/three.mat", "two/folder/two.mat"]
    assert listing(offered.raw_folder) == sorted(raw + unpacked)


def test_offline_nothing_is_asked_for_and_what_is_there_is_used(offered, server, monkeypatch):
    offered.raw_folder.mkdir(parents=True)
    (offered.raw_folder / "two.zip").write_bytes(as_zip("two", "three"))
    outcome = prepare(offered, offline=True)
    assert outcome.made == ["two", "three"]
    assert messages(outcome) == {"one": offered.absent()}
    assert run(offered, monkeypatch, "--offline") == 2
    assert not server.requests


def test_a_damaged_archive_is_told_for_all_its_scenes(offered, server, monkeypatch, capsys):
    server.on(good(as_zip("two", "three")[:-300]), path="/two.zip")
    assert run(offered, monkeypatch) == 2
    told = capsys.readouterr().err
    assert "2 not ready: two, three\n" in told
    assert f"{offered.raw_folder / 'two.zip'} is cut short or damaged" in told
    assert "toy: 1 scenes are ready, 1 of them made now, 2 are not" in told


def downloads(server, *names):
    return [
        Download(RemoteFile(f"{name}.mat", (server.url(f"/{name}"),)), (name,)) for name in names
    ]


def test_after_two_refusals_in_a_row_the_rest_is_not_asked_for(server, monkeypatch, capsys):
    names = ["a", "one", "b", "c", "d", "two"]
    collection = toy(scenes=dict.fromkeys(names, Excerpt()), downloads=downloads(server, *names))
    for name in names:
        there = name in SCENES
        server.on(good(as_mat(name)) if there else error(403), path=f"/{name}")
    put(collection, "two")
    assert run(collection, monkeypatch) == 2
    assert [path for path, _ in server.requests] == ["/a", "/one", "/b", "/c"]
    told = capsys.readouterr().err
    for name in "abc":
        assert f"1 not ready: {name}\n{name}.mat could not be fetched:\n" in told
        assert f"  {server.url(f'/{name}')}: HTTP 403 Forbidden\n" in told
    assert "1 not ready: d\nnot fetched, as the files before were refused" in told
    assert "toy: 2 scenes are ready, 2 of them made now, 4 are not" in told


def test_a_server_that_is_down_is_not_waited_for_at_every_file(server):
    official = f"http://localhost:{server.server_port}/official"
    files = [
        RemoteFile(f"{name}.mat", (f"{official}/{name}", server.url(f"/mirror/{name}")))
        for name in SCENES
    ]
    for name in SCENES:
        server.on(error(503), path=f"/official/{name}")
        server.on(good(as_mat(name)), path=f"/mirror/{name}")
    server.on(error(404), path="/mirror/three")
    server.on(good(as_mat("three")), path="/official/three")
    pairs = zip(files, SCENES, strict=True)
    assert prepare(toy(downloads=[Download(f, (s,)) for f, s in pairs])).made == [*SCENES]
    asked = [path for path, _ in server.requests]
    first = ["/official/one"] * download.TRIES
    assert asked == [*first, "/mirror/one", "/mirror/two", "/mirror/three", "/official/three"]


def test_files_that_people_must_fetch_are_named_once_and_the_run_goes_on_with_them(
    monkeypatch, capsys
):
    collection = toy(
        downloads=[
            Download(RemoteFile("one.mat", (), size=2_000_000), ("one",)),
            Download(RemoteFile("two.zip", (), size=3_000_000), ("two", "three"), archive=True),
        ],
        size=9_000_000_000,
    )
    assert run(collection, monkeypatch) == 2
    told = capsys.readouterr().err
    assert told.count("Open https://example.org/toy\nand download (5.0 MB):") == 1
    lines = f"  one.mat\n  two.zip\nPut them into {collection.raw_folder}\n"
    assert f"{lines}and go on with: make data DATASET=toy" in told
    assert "3 not ready: one, two, three" in told
    put(collection, "one")
    assert run(collection, monkeypatch) == 2
    told = capsys.readouterr().err
    assert "and download (3.0 MB):\n  two.zip\nPut them into" in told
    assert "2 not ready: two, three" in told
    (collection.raw_folder / "two.zip").write_bytes(as_zip("two", "three"))
    assert run(collection, monkeypatch) == 0
    assert "toy: 3 scenes are ready, 2 of them made now, 0 are not" in capsys.readouterr().err


def test_scenes_of_other_protocols_are_fetched_only_when_asked_for(server, monkeypatch):
    collection = toy(extra=frozenset({"two"}), downloads=downloads(server, *SCENES))
    for name in SCENES:
        server.on(good(as_mat(name)), path=f"/{name}")
    assert prepare(collection).made == ["one", "three"]
    assert run(collection, monkeypatch, "--all") == 0
    assert sorted(path.name for path in collection.prepared_folder.glob("t*")) == ["three", "two"]
    shutil.rmtree(collection.prepared_folder)
    assert prepare(collection).made == [*SCENES]  # its file is there now
    assert len(server.requests) == 3


# The command


def test_nothing_is_written_outside_data_root(offered, root, tmp_path, monkeypatch):
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert run(offered, monkeypatch) == 0
    module = data_module(offered)
    module.setup("fit")
    assert len(list(module.train_dataloader())) == 6
    assert {path.split("/")[0] for path in listing(tmp_path)} == {"data"}
    assert {path.split("/")[0] for path in listing(root)} == {"toy"}


def test_data_goes_to_data_below_the_working_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_ROOT")
    assert str(toy().raw_folder) == "data/toy/raw"
    monkeypatch.setenv("DATA_ROOT", "")
    assert str(toy().prepared_folder) == "data/toy/prepared"


def test_without_a_name_the_datasets_are_listed(monkeypatch, capsys, root):
    collection = toy(extra=frozenset({"three"}), size=1_500_000)
    put(collection, "one", "three")
    prepare(collection)
    (collection.prepared_folder / "two").mkdir()  # that of no scene
    monkeypatch.setattr(command, "catalogue", lambda: {"toy": collection})
    assert command.main([]) == 0
    told = capsys.readouterr().err
    assert re.search(r"toy .*Toy scenes .*1\.5 MB .*1 of 2", told)
    assert command.main(["[toys]"]) == 2
    assert "there is no dataset '[toys]'" in capsys.readouterr().err


def test_a_run_that_is_stopped_says_how_to_go_on(monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "prepare", stop)
    assert run(toy(), monkeypatch) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_training_without_data_says_how_to_get_it(root):
    collection = toy(size=2_500_000, extra=frozenset({"two"}))
    with pytest.raises(DataError) as caught:
        data_module(collection).setup("fit")
    message = str(caught.value)
    for part in (
        "Toy scenes (Nobody 2026) is not prepared",
        "no scene of its train split",
        "make data DATASET=toy ARGS=--all   gets it",
        "2.5 MB",
        str(collection.raw_folder),
        "https://example.org/toy",
    ):
        assert part in message
    put(collection, "one")
    prepare(collection)
    with pytest.warns(UserWarning, match="the others lack: make data DATASET=toy ARGS=--all"):
        data_module(collection).setup("fit")


def test_the_miniature_goes_through_the_whole_command(root, capsys):
    miniatures.main("icvl", root)
    assert command.main(["icvl", "--offline", "--any-size"]) == 2
    told = capsys.readouterr().err
    assert "icvl: 5 scenes are ready, 5 of them made now, 150 are not" in told
    assert command.main(["icvl", "--offline"]) == 2  # what was taken once is not asked again
    assert "icvl: 5 scenes are ready, 150 are not" in capsys.readouterr().err
