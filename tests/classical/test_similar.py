"""Groups of patches: found as by looking at all, and of low rank as by a decomposition."""

import pytest
import torch

from lightning_ras2s.classical.similar import (
    Patches,
    denoise_groups,
    key_offsets,
    matched,
    weighted_nuclear,
)

torch.set_num_threads(1)


def test_keys_are_every_step_and_all_behind_the_last():
    assert key_offsets(11, 4) == [0, 4, 8, 9, 10]
    assert key_offsets(9, 4) == [0, 4, 8]


def test_the_most_similar_patches_of_the_window_are_found():
    torch.manual_seed(0)
    image = torch.rand(14, 17)
    keys, groups = matched(image, 4, 3, 5, 7)
    patches = {(y, x): image[y : y + 4, x : x + 4] for y in range(11) for x in range(14)}
    assert len(keys) == len(key_offsets(11, 3)) * len(key_offsets(14, 3))
    for key, group in zip(keys.tolist(), groups.tolist(), strict=True):
        y, x = divmod(key, 14)
        near = {
            place: (patch - patches[y, x]).square().sum().item()
            for place, patch in patches.items()
            if abs(place[0] - y) <= 5 and abs(place[1] - x) <= 5
        }
        expected = sorted(near, key=near.get)[:7]
        assert group[0] == key
        assert sorted(divmod(place, 14) for place in group) == sorted(expected)


def test_small_images_have_smaller_groups():
    keys, groups = matched(torch.rand(5, 6), 5, 4, 30, 140)
    assert groups.shape == (2, 2)
    assert keys.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(7, 12), (12, 7)])
def test_the_weighted_nuclear_norm(shape):
    torch.manual_seed(0)
    groups, weight = torch.randn(3, *shape, dtype=torch.float64), torch.tensor([0.5, 1.0, 100.0])
    found = weighted_nuclear(groups, weight.double())
    for matrix, c, result in zip(groups, weight, found, strict=True):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        shrunk = torch.where(s**2 > 4 * c, (s + (s**2 - 4 * c).clamp_min(0).sqrt()) / 2, 0)
        torch.testing.assert_close(result, u @ shrunk.diag() @ v)
    assert found[2].count_nonzero() == 0


def test_without_noise_the_image_comes_back():
    torch.manual_seed(0)
    image = torch.rand(6, 20, 20)
    patches = Patches.of(image, 5)
    keys, groups = matched(image.mean(0), 5, 4, 30, 30)
    total, times = denoise_groups(patches, keys, groups, torch.zeros(16 * 16), 5.0)
    assert times.min() > 0
    torch.testing.assert_close(total / times, image, atol=1e-4, rtol=0)
