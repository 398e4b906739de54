"""Whether somebody who lives holds a run."""

import multiprocessing

from lightning_ras2s.runs import alive


def hold_and_wait(path, told):
    alive.hold(path)
    told.send("held")
    told.recv()


def test_a_file_is_held_as_long_as_its_process_lives(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("a: 1")
    assert not alive.is_held(file)
    here, there = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=hold_and_wait, args=(file, there))
    process.start()
    assert here.recv() == "held"
    assert alive.is_held(file)
    process.kill()
    process.join()
    assert not alive.is_held(file)


def test_it_can_be_held_again_also_where_it_was_replaced(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("a: 1")
    alive.hold(file)
    alive.hold(file)
    (tmp_path / "aside").write_text("a: 2")
    (tmp_path / "aside").rename(file)
    assert not alive.is_held(file)
    alive.hold(file)
    assert alive.is_held(file)


def test_where_it_cannot_be_told_nobody_is_dead(tmp_path, monkeypatch):
    assert alive.is_held(tmp_path / "none")
    file = tmp_path / "config.yaml"
    file.write_text("a: 1")
    monkeypatch.setattr(alive, "fcntl", None)
    alive.hold(file)
    assert alive.is_held(file)
