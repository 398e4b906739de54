"""Fetching, from a server on this machine that misbehaves as publishers' servers do."""

import hashlib
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules import download, files
from datamodules.fetch import RemoteFile, fetch, manual
from datamodules.scene import DataError
from tests.server import DATA, PAGE, Server, error, good, page, redirect

OTHER = np.random.default_rng(1).bytes(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def get(server, waits, tmp_path):
    """Fetches a.mat into tmp_path."""

    def get(*paths, sha256=DIGEST, size=None):
        urls = tuple(server.url(path) for path in paths or ("/a.mat",))
        return fetch(RemoteFile("a.mat", urls, sha256, size), tmp_path, sleep=waits.append)

    return get


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once_and_a_rerun_asks_for_nothing_and_hashes_nothing(
    server, get, tmp_path, monkeypatch
):
    server.on(good())
    path = get(size=len(DATA))
    assert path == tmp_path / "a.mat"
    assert path.read_bytes() == DATA
    assert listing(tmp_path) == ["a.mat", "a.mat.sha256"]
    assert f"\n{DIGEST}  a.mat\n" in (tmp_path / "a.mat.sha256").read_text()
    monkeypatch.setattr(files, "compute_sha256", lambda path: pytest.fail("hashed again"))
    assert get(size=len(DATA)) == path
    assert len(server.requests) == 1


def test_a_file_put_there_by_hand_is_verified_and_kept(server, get, tmp_path):
    (tmp_path / "a.mat").write_bytes(DATA)
    get()
    assert not server.requests


@pytest.mark.parametrize("wrong", [DATA[:-1], OTHER, PAGE])
def test_a_file_that_is_there_but_wrong_is_replaced(server, get, tmp_path, wrong):
    server.on(good())
    (tmp_path / "a.mat").write_bytes(wrong)
    assert get().read_bytes() == DATA


def test_a_page_saved_by_hand_is_replaced_even_if_no_hash_is_known(server, get, tmp_path):
    server.on(good())
    (tmp_path / "a.mat").write_bytes(PAGE)
    assert get(sha256=None).read_bytes() == DATA


def test_a_file_changed_since_it_was_verified_is_hashed_again(server, get):
    server.on(good())
    path = get()
    path.write_bytes(OTHER)
    assert get().read_bytes() == DATA
    assert len(server.requests) == 2


def test_a_file_that_is_wrong_stays_until_a_better_one_is_there(server, get, tmp_path):
    server.on(error(404))
    (tmp_path / "a.mat").write_bytes(OTHER)
    with pytest.raises(DataError, match="404"):
        get()
    assert (tmp_path / "a.mat").read_bytes() == OTHER


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_a_cut_connection_goes_on_where_it_stopped(server, get, waits, sha256):
    server.on(good(cut=123_456), good(cut=200_001), good())
    assert get(sha256=sha256).read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-", "bytes=200001-"]
    assert [headers.get("If-Range") for _, headers in server.requests] == [None, '"1"', '"1"']
    assert waits == [1, 2]


def test_tries_that_bring_the_file_on_are_not_counted(server, get, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS", 20_000)
    server.on(*[good(cut=cut) for cut in range(30_000, 300_000, 30_000)], good())
    assert get().read_bytes() == DATA
    assert len(server.requests) == 10


def test_a_server_that_ignores_range_sends_all_of_it_again(server, get):
    server.on(good(cut=123_456), good(ranges=False))
    assert get(sha256=None).read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-"]


def test_a_file_that_changes_between_two_tries_is_fetched_from_its_beginning(server, get):
    server.on(good(OTHER, '"old"', cut=123_456), good(DATA, '"new"'))
    assert get(sha256=None).read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-"]


def test_a_server_that_ignores_if_range_does_not_mix_two_files(server, get):
    def deaf(handler):
        del handler.headers["If-Range"]
        good(DATA, '"new"')(handler)

    server.on(good(OTHER, '"old"', cut=123_456), deaf)
    assert get(sha256=None).read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-", None]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_a_part_goes_on_only_if_the_hash_will_tell(server, get, etag):
    server.on(good(etag=etag, cut=123_456), good(etag=etag))
    get(sha256=None).unlink()
    server.on(good(etag=etag, cut=123_456), good(etag=etag))
    assert get().read_bytes() == DATA
    assert server.ranges == [None, None, None, "bytes=123456-"]


def test_last_modified_stands_in_for_a_missing_etag(server, get):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.on(good(etag=None, cut=123_456, Last_Modified=date), good(etag=None, Last_Modified=date))

    def dated(handler):
        assert handler.headers["If-Range"] == date
        del handler.headers["If-Range"]
        good(etag=None, Last_Modified=date)(handler)

    server.replies["/a.mat"][1] = dated
    assert get(sha256=None).read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-"]


class Killed(BaseException):
    pass


def kill(seconds):
    raise Killed


def test_a_killed_download_leaves_parts_only_and_the_next_run_goes_on(server, get, tmp_path):
    server.on(good(cut=123_456), good())
    file = RemoteFile("a.mat", (server.url(),), DIGEST)
    with pytest.raises(Killed):
        fetch(file, tmp_path, sleep=kill)
    assert listing(tmp_path) == ["a.mat.part", "a.mat.part.json"]
    assert get().read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-"]


def test_killed_before_it_was_verified_only_that_is_left_to_do(server, get, tmp_path, monkeypatch):
    server.on(good())
    monkeypatch.setattr("datamodules.fetch.compute_sha256", kill)
    with pytest.raises(Killed):
        get()
    monkeypatch.undo()
    assert get().read_bytes() == DATA
    assert len(server.requests) == 1


def test_the_next_run_goes_on_at_the_mirror_that_the_part_comes_from(server, get, tmp_path):
    server.on(error(404))
    server.on(good(cut=123_456), path="/mirror")
    with pytest.raises(DataError, match=r"go on after the 123\.5 kB that are there"):
        get("/a.mat", "/mirror")
    server.requests.clear()
    server.on(good())
    server.on(good(), path="/mirror")
    assert get("/a.mat", "/mirror").read_bytes() == DATA
    assert [path for path, _ in server.requests] == ["/mirror"]
    assert server.ranges == ["bytes=123456-"]


def test_parts_of_two_mirrors_are_not_mixed(server, get):
    server.on(good(OTHER, cut=123_456), error(404))
    server.on(good(), path="/mirror")
    assert get("/a.mat", "/mirror", sha256=None).read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-", None]


def test_nothing_is_kept_of_a_wrong_file(server, get, tmp_path):
    server.on(good(OTHER))
    with pytest.raises(DataError, match="SHA-256"):
        get()
    assert not listing(tmp_path)


def test_a_part_with_a_torn_note_is_not_trusted(server, get, tmp_path):
    (tmp_path / "a.mat.part").write_bytes(OTHER[:1000])
    (tmp_path / "a.mat.part.json").write_text('{"url": "http')
    server.on(good())
    assert get(sha256=None).read_bytes() == DATA
    assert server.ranges == [None]


def test_a_part_longer_than_the_file_is_dropped(server, get, tmp_path):
    server.on(good(cut=123_456), error(416), good())
    assert get().read_bytes() == DATA
    assert server.ranges == [None, "bytes=123456-", None]


@pytest.mark.parametrize("code", [503, 429])
def test_a_busy_server_is_asked_again_after_growing_pauses(server, get, waits, code):
    server.on(error(code), error(code), error(code), good())
    get()
    assert waits == [1, 2, 4]


def test_a_server_that_stays_busy_is_given_up_for_the_next_mirror(server, get, waits):
    server.on(error(503))
    server.on(good(), path="/mirror")
    get("/a.mat", "/mirror")
    assert [path for path, _ in server.requests] == ["/a.mat"] * 5 + ["/mirror"]
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize("bad", [error(404), good(OTHER), page(), good(DATA[:-1])])
def test_a_mirror_without_the_right_file_is_passed_over_at_once(server, get, waits, tmp_path, bad):
    server.on(bad)
    server.on(good(), path="/mirror")
    assert get("/a.mat", "/mirror").read_bytes() == DATA
    assert [path for path, _ in server.requests] == ["/a.mat", "/mirror"]
    assert not waits
    assert listing(tmp_path) == ["a.mat", "a.mat.sha256"]


def test_scripts_are_refused_and_we_do_not_look_like_one(server, get):
    def fussy(handler):
        browser = handler.headers["User-Agent"].startswith("Mozilla/5.0 (")
        (good() if browser else error(403))(handler)

    server.on(fussy)
    get()


def test_a_redirect_is_followed_also_by_the_part_that_was_missing(server, get):
    server.on(redirect("/moved"))
    server.on(good(cut=123_456), good(), path="/moved")
    assert get(sha256=None).read_bytes() == DATA
    assert server.ranges[-1] == "bytes=123456-"


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a.mat", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(server, get, tmp_path, url):
    server.on(redirect(url))
    with pytest.raises(DataError, match=url):
        get(sha256=None)
    assert not listing(tmp_path)
    assert len(server.requests) == 1


def test_every_error_names_each_address_its_cause_and_the_remedy(server, get, tmp_path):
    server.on(error(404), path="/gone")
    server.on(error(403), path="/login")
    server.on(good(OTHER), path="/wrong")
    server.on(good(DATA[:-1]), path="/short")
    server.on(page(), path="/page")
    server.on(page("application/octet-stream"), path="/hidden")
    server.on(page(body=b"<p>no"), path="/plain")
    server.on(good(Content_Length=len(DATA) + 7), path="/long")
    server.on(good(etag=None, cut=5), path="/cut")
    paths = ("/gone", "/login", "/wrong", "/short", "/page", "/hidden", "/plain", "/long", "/cut")
    with pytest.raises(DataError) as caught:
        get(*paths)
    lines = str(caught.value).splitlines()
    causes = [
        "HTTP 404 Not Found",
        "HTTP 403 Forbidden",
        f"SHA-256 {hashlib.sha256(OTHER).hexdigest()}, expected {DIGEST}",
        f"SHA-256 {hashlib.sha256(DATA[:-1]).hexdigest()}, expected {DIGEST}",
        'a web page with the title "Sign in & continue" in place of data',
        'a web page with the title "Sign in & continue" in place of data',
        'a web page with the title "" in place of data',
        "the connection ended after 300000 of 300007 bytes, at the last of 5 tries",
        "the connection ended after 5 of 300000 bytes, at the last of 5 tries",
    ]
    assert lines[0] == "a.mat could not be fetched:"
    assert lines[1:-1] == [
        f"  {server.url(path)}: {cause}" for path, cause in zip(paths, causes, strict=True)
    ]
    assert lines[-1].startswith("Run the same command later")
    assert lines[-1].endswith(f"or download the file in a browser and put it into {tmp_path}")


def test_a_file_of_another_size_is_refused_before_it_is_fetched(server, get, tmp_path, monkeypatch):
    monkeypatch.setattr(download.Part, "start", lambda *args: pytest.fail("fetched"))
    server.on(good())
    with pytest.raises(DataError, match="300000 bytes, expected 300001"):
        get(sha256=None, size=300_001)
    assert not listing(tmp_path)


def test_no_answer_at_all_is_told(tmp_path, waits, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as closed:
        url = closed.url()
    with pytest.raises(DataError, match=rf"{url}: no answer \(.*refused\), at the last of 5 tries"):
        fetch(RemoteFile("a.mat", (url,)), tmp_path, sleep=waits.append)
    assert waits == [1, 2, 4, 8]


def test_a_silent_server_is_not_waited_for_for_ever(server, get, monkeypatch, caplog):
    release = threading.Event()
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    server.on(lambda handler: release.wait(5), good())
    assert get().read_bytes() == DATA
    release.set()
    assert "no answer (timed out); again in 1 s" in caplog.text


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_full_disk_is_noticed_before_anything_is_written(
    server, get, tmp_path, monkeypatch, size
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=299_999))
    server.on(good())
    with pytest.raises(DataError, match=r"needs 300\.0 kB and 300\.0 kB are free.*DATA_ROOT") as e:
        get(size=size)
    assert str(tmp_path) in str(e.value)
    assert not listing(tmp_path)
    assert len(server.requests) == (size is None)


def test_what_is_there_already_needs_no_room_again(server, get, tmp_path, monkeypatch):
    server.on(good(cut=123_456))
    with pytest.raises(DataError):
        get()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=176_544))
    server.on(good())
    get(size=len(DATA))


def test_a_folder_that_cannot_be_written_is_named(server, get, tmp_path):
    server.on(good())
    (tmp_path / "a.mat.part").mkdir()
    with pytest.raises(DataError, match=r"a\.mat cannot be written .*DATA_ROOT"):
        get()


@pytest.mark.parametrize(
    ("name", "urls"),
    [
        ("../a.mat", ("http://x/a",)),
        ("", ("http://x/a",)),
        ("a.mat", ("http://x/a", "file:///a")),
    ],
)
def test_a_remote_file_has_a_plain_name_and_http_addresses(name, urls):
    with pytest.raises(DataError, match="expected"):
        RemoteFile(name, urls)


def test_nothing_is_drawn_where_there_is_no_terminal(server, get, capfd):
    server.on(good())
    get()
    assert capfd.readouterr() == ("", "")


def test_what_people_must_fetch_themselves_fits_one_screen_and_names_the_next_command(tmp_path):
    names = [f"scene{n:02}.mat" for n in range(201)]
    page = "https://example.org/request"
    text = str(manual(page, names, tmp_path, 90_200_000_000, "make data DATASET=icvl"))
    for part in (page, "90.2 GB", "scene00.mat", "201 files in all", str(tmp_path)):
        assert part in text
    assert text.endswith("go on with: make data DATASET=icvl")
    assert len(text.splitlines()) < 20
