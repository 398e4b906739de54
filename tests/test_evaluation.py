"""The table of an evaluation, the baselines in it, and the learning rates' schedules."""

import csv
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch.utils.data import DistributedSampler

from lightning_ras2s import evaluation
from lightning_ras2s.classical.median import median_filter
from lightning_ras2s.evaluation import SceneRows, mean_rows, screen_table, write_csv
from lightning_ras2s.schedules import cosine_factor, paper_factor, step_factor

torch.set_num_threads(1)

ITEMS = [("pines", "a", "mixture"), ("pines", "b", "mixture"), ("pines", "a", "noniid")]
METHODS = ["Noisy", "RAS2S"]


def add(rows, index, number, values, item=("pines", "a", "mixture")):
    dataset, scene, case = item
    batch = {"index": torch.tensor([index]), "dataset": [dataset], "name": [scene], "case": [case]}
    rows.add(batch, number, METHODS[number], torch.as_tensor(values, dtype=torch.float64)[None])


@pytest.fixture
def rows():
    """Two methods on three items, each value telling its item, method and metric."""
    kept = SceneRows()
    for index, item in reversed(list(enumerate(ITEMS))):
        for number in range(2):
            add(kept, index, number, 4.0 * index + 100 * number + torch.arange(4) / 16, item)
    return kept.gather()


def row(dataset, case, method, scene, *values):
    names = ("psnr_db", "ssim", "sam_rad", "ergas")
    return {"dataset": dataset, "noise_case": case, "method": method, "scene": scene} | dict(
        zip(names, values, strict=True)
    )


def test_rows_name_the_item_and_the_method_in_the_order_of_the_scenes(rows):
    assert rows == [
        row("pines", "mixture", "Noisy", "a", 0, 0.0625, 0.125, 0.1875),
        row("pines", "mixture", "RAS2S", "a", 100, 100.0625, 100.125, 100.1875),
        row("pines", "mixture", "Noisy", "b", 4, 4.0625, 4.125, 4.1875),
        row("pines", "mixture", "RAS2S", "b", 104, 104.0625, 104.125, 104.1875),
        row("pines", "noniid", "Noisy", "a", 8, 8.0625, 8.125, 8.1875),
        row("pines", "noniid", "RAS2S", "a", 108, 108.0625, 108.125, 108.1875),
    ]


def test_of_a_scene_that_comes_again_the_last_row_counts_and_a_gathering_begins_anew():
    kept = SceneRows()
    add(kept, 1, 0, [1, 2, 3, 4])
    add(kept, 0, 0, [5, float("inf"), 7, 8])
    add(kept, 1, 0, [9, 10, 11, 0.1])
    assert [list(r.values())[4:] for r in kept.gather()] == [
        [5, float("inf"), 7, 8],
        [9, 10, 11, 0.1],
    ]
    assert kept.gather() == []


def _process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/init",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    padded = list(DistributedSampler(range(7), num_replicas=2, rank=rank, shuffle=False))
    assert len(padded) == 4
    uneven = [[0, 1, 2, 3, 4], [5, 6]][rank]
    one_sided = [[], [6, 5, 4, 3, 2, 1, 0]][rank]
    kept = SceneRows()
    for scenes in (padded, uneven, one_sided):
        for scene in scenes:
            add(kept, scene, 1, [scene, -0.5 * scene, 0, 0])
        values = [row["psnr_db"] for row in kept.gather()]
        assert values == list(range(7))
    assert kept.gather() == []  # none has a row
    torch.distributed.destroy_process_group()


def test_two_processes_count_each_scene_once_also_if_one_has_none(tmp_path):
    torch.multiprocessing.start_processes(_process, (tmp_path,), nprocs=2, start_method="fork")


def test_means_are_over_the_scenes_of_a_dataset_case_and_method(rows):
    other = row("icvl", "mixture", "RAS2S", "a", 1, 2, 3, 4)
    assert mean_rows([*rows, other]) == [
        row("pines", "mixture", "Noisy", "mean", 2, 2.0625, 2.125, 2.1875),
        row("pines", "mixture", "RAS2S", "mean", 102, 102.0625, 102.125, 102.1875),
        row("pines", "noniid", "Noisy", "mean", 8, 8.0625, 8.125, 8.1875),
        row("pines", "noniid", "RAS2S", "mean", 108, 108.0625, 108.125, 108.1875),
        row("icvl", "mixture", "RAS2S", "mean", 1, 2, 3, 4),
    ]


def test_the_csv_has_the_promised_columns_a_row_per_scene_and_the_means(rows, tmp_path):
    path = tmp_path / "evaluation.csv"
    write_csv(rows, path)
    header = path.read_text().splitlines()[0]
    assert header == "dataset,noise_case,method,scene,psnr_db,ssim,sam_rad,ergas"
    with path.open(newline="") as file:
        read = list(csv.DictReader(file))
    numbers = ("psnr_db", "ssim", "sam_rad", "ergas")
    read = [line | {name: float(line[name]) for name in numbers} for line in read]
    assert read == [*rows, *mean_rows(rows)]
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.csv"]


def test_a_failing_write_leaves_no_table_and_the_old_one_as_it_was(rows, tmp_path, monkeypatch):
    path = tmp_path / "evaluation.csv"

    class FullDisk(csv.DictWriter):
        def writerows(self, rows):
            super().writerow(rows[0])
            raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(evaluation.csv, "DictWriter", FullDisk)
        with pytest.raises(OSError, match="No space"):
            write_csv(rows, path)
        assert not path.exists()
        path.write_text("the old one")
        with pytest.raises(OSError, match="No space"):
            write_csv(rows, path)
        assert path.read_text() == "the old one"
    write_csv(rows[:1], path)
    assert len(path.read_text().splitlines()) == 3


def test_the_screen_shows_the_means_in_the_order_of_the_csv(rows):
    method, *numbers = [list(column.cells) for column in screen_table(rows).columns[-5:]]
    assert method == ["Noisy", "RAS2S"] * 2
    assert numbers == [
        ["2.00", "102.00", "8.00", "108.00"],
        ["2.0625", "102.0625", "8.0625", "108.0625"],
        ["2.1250", "102.1250", "8.1250", "108.1250"],
        ["2.19", "102.19", "8.19", "108.19"],
    ]


# Baselines


def test_the_median_baseline_is_the_median_of_27_neighbours():
    noisy = torch.rand(2, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    before = noisy.clone()
    filtered = median_filter(noisy)
    assert filtered.dtype == torch.float32
    for sample, band, r, c in [(0, 2, 3, 3), (1, 1, 1, 5), (1, 3, 4, 1)]:
        neighbours = noisy[sample, band - 1 : band + 2, r - 1 : r + 2, c - 1 : c + 2]
        assert neighbours.numel() == 27
        assert filtered[sample, band, r, c].item() == np.median(neighbours.numpy())
    assert torch.equal(filtered[1:], median_filter(noisy[1:]))
    assert torch.equal(noisy, before)


def test_the_median_baseline_mirrors_at_the_borders():
    noisy = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    padded = np.pad(noisy[0].numpy(), 1, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3))
    expected = np.median(windows, axis=(3, 4, 5))
    np.testing.assert_array_equal(median_filter(noisy)[0].numpy(), expected)


def test_the_median_baseline_removes_an_isolated_spike():
    noisy = torch.full((1, 5, 6, 7), 0.25)
    noisy[0, 2, 3, 3] = 1
    assert torch.equal(median_filter(noisy), torch.full((1, 5, 6, 7), 0.25))


# Schedules


def test_the_papers_learning_rate_falls_in_steps():
    epochs = [0, 4, 5, 14, 15, 24, 25, 49, 50, 89]
    factors = [1, 1, 0.5, 0.5, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]
    assert [paper_factor(epoch) for epoch in epochs] == factors


def test_factors_hold_from_their_epoch_on():
    factor = step_factor({20: 0.1, 30: 1.0, 35: 0.5})
    epochs = (0, 19, 20, 29, 30, 34, 35, 99)
    assert [factor(epoch) for epoch in epochs] == [1, 1, 0.1, 0.1, 1, 1, 0.5, 0.5]


def test_the_cosine_rises_to_1_and_falls_to_a_hundredth():
    factor = cosine_factor(warmup_steps=4, total_steps=104)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    middle = 0.01 + 0.99 / 2
    quarter = 0.01 + 0.99 * (1 + 2**-0.5) / 2
    assert [factor(step) for step in (29, 54)] == pytest.approx([quarter, middle])
    assert factor(104) == factor(200) == pytest.approx(0.01)
    falling = [factor(step) for step in range(4, 105)]
    assert falling == sorted(falling, reverse=True)


def test_the_cosine_without_warm_up_starts_at_1():
    assert cosine_factor(0, 10)(0) == 1


def test_a_warm_up_longer_than_the_training_only_rises():
    factor = cosine_factor(warmup_steps=8, total_steps=4)
    assert [factor(step) for step in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.625]
