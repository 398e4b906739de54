"""Unpacking: whole folders or none, and nothing outside them."""

import io
import shutil
import stat
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules import unpack as module
from datamodules.scene import DataError
from datamodules.unpack import unpack

FILES = {
    "a/one.png": np.random.default_rng(0).bytes(50_000),
    "a/two.png": bytes(3000),
    "b.txt": b"",
}
KINDS = ["zip", "tar", "tar.gz"]


def pack(path, files=FILES):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/", b"")
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            folder = tarfile.TarInfo("a")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".unpacked"
    }


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_there_and_nothing_else(tmp_path, kind):
    archive = pack(tmp_path / f"x.{kind}")
    folder = unpack(archive, tmp_path / "raw" / "x")
    assert contents(folder) == FILES
    assert listing(tmp_path / "raw") == ["x"]


def test_what_is_unpacked_is_not_unpacked_again(tmp_path, monkeypatch):
    archive = pack(tmp_path / "x.zip")
    unpack(archive, tmp_path / "x")
    monkeypatch.setattr(module, "_extract", lambda *args: pytest.fail("unpacked again"))
    assert unpack(archive, tmp_path / "x") == tmp_path / "x"


def test_another_archive_replaces_what_the_old_one_gave(tmp_path):
    unpack(pack(tmp_path / "x.zip"), tmp_path / "x")
    new = {"a/one.png": b"new"}
    unpack(pack(tmp_path / "x.zip", new), tmp_path / "x")
    assert contents(tmp_path / "x") == new


class Killed(BaseException):
    pass


def test_an_interrupted_unpacking_is_begun_again(tmp_path, monkeypatch):
    archive = pack(tmp_path / "x.zip")

    def killed(*args):
        raise Killed

    monkeypatch.setattr(shutil, "copyfileobj", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: None)  # as after kill -9
    with pytest.raises(Killed):
        unpack(archive, tmp_path / "x")
    monkeypatch.undo()
    assert not (tmp_path / "x").exists()
    (tmp_path / "x.part" / "left.png").write_bytes(b"half")
    unpack(archive, tmp_path / "x")
    assert contents(tmp_path / "x") == FILES
    assert listing(tmp_path) == ["x", "x.zip", "x.zip.sha256"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive_is_refused_wherever_it_ends(tmp_path, kind):
    whole = pack(tmp_path / f"x.{kind}").read_bytes()
    archive = tmp_path / f"cut.{kind}"
    end = len(whole)
    if kind == "tar":  # between headers and data the end is zeros: those may go
        end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    places = {0, 1, 100, 512, 700, 1024, 1536, end // 2, end - 9, end - 1}
    for place in sorted(places):
        archive.write_bytes(whole[:place])
        with pytest.raises(DataError) as caught:
            unpack(archive, tmp_path / "x")
        assert str(archive) in str(caught.value)
        assert "delete it and run the same command again" in str(caught.value)
        assert not (tmp_path / "x").exists()
        assert not (tmp_path / "x.part").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_with_one_wrong_byte_in_a_header_or_stream_is_refused(tmp_path, kind):
    archive = pack(tmp_path / f"x.{kind}")
    data = bytearray(archive.read_bytes())
    place = 600 if kind == "tar" else 20_000  # a tar's contents have no checksum
    data[place] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="cut short or damaged"):
        unpack(archive, tmp_path / "x")


def test_a_page_named_as_an_archive_is_refused(tmp_path):
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"<html>" + bytes(2000))
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "x")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "..\\out", "C:\\out", "C:out"])
def test_a_path_out_of_the_folder_is_refused(tmp_path, kind, name):
    archive = pack(tmp_path / f"x.{kind}", {"fine": b"1", name: b"2"})
    with pytest.raises(DataError, match="leads out of the folder; nothing was unpacked"):
        unpack(archive, tmp_path / "sub" / "x")
    assert not (tmp_path / "out").exists()
    assert not listing(tmp_path / "sub")


@pytest.mark.parametrize("link", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, link):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = link, "/etc"
        archive.addfile(member)
    with pytest.raises(DataError, match="'a' is a link"):
        unpack(tmp_path / "x.tar", tmp_path / "x")


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        member = zipfile.ZipInfo("a")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc")
    with pytest.raises(DataError, match="'a' is a link"):
        unpack(tmp_path / "x.zip", tmp_path / "x")


def test_a_users_own_folder_is_left_alone(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("mine")
    with pytest.raises(DataError, match="do not come from"):
        unpack(pack(tmp_path / "x.zip"), tmp_path / "x")
    assert contents(tmp_path / "x") == {"mine": b"mine"}


def test_an_archive_is_not_unpacked_over_itself(tmp_path):
    unpack(pack(tmp_path / "x.zip"), tmp_path / "x")
    inside = pack(tmp_path / "x" / "y.zip")
    with pytest.raises(DataError, match="move it out"):
        unpack(inside, tmp_path / "x")
    assert inside.exists()


def test_a_full_disk_is_noticed_before_unpacking(tmp_path, monkeypatch):
    archive = pack(tmp_path / "x.zip")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=52_999))
    with pytest.raises(DataError, match=r"x\.zip needs 53\.0 kB and 53\.0 kB are free"):
        unpack(archive, tmp_path / "x")
    assert not (tmp_path / "x.part").exists()
