"""The benchmark of quality against seconds, on one phantom for some tenths of them."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import rivals

    return rivals


def test_a_table_a_file_and_a_picture(rivals, tmp_path, monkeypatch, capsys):
    threads = torch.get_num_threads()
    words = ["--images", "1", "--size", "64", "--budgets", "0", "0.2", "--threads", "1"]
    words += ["--methods", "blind2unblind-cold", "n2v", "zs-n2n", "nlm"]
    words += ["--csv", tmp_path / "t.csv", "--plot", tmp_path / "t.png"]
    script = BENCHMARKS / "time_to_quality.py"
    monkeypatch.setattr(sys, "argv", [str(word) for word in (script, *words)])
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    for part in ("cpu, 1 thread(s)", "torch 2", "1 image(s) of 64 x 64", "data range"):
        assert part in said
    table = [line for line in said.splitlines() if line.startswith("| ")]
    assert table[0] == "| | 0 s | 0.2 s |"
    assert [line.split(" | ")[0][2:] for line in table[2:]] == [
        "Blind2Unblind, cold",
        rivals.Noise2Void.title,
        rivals.ZeroShot.title,
        "Non-local means",
    ]
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    [classical] = [row for row in rows if row["name"] == "nlm"]
    assert float(classical["psnr"]) > float(classical["noisy_psnr"]) + 3
    assert (tmp_path / "t.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["plain", "n2v", "zs-n2n"])
def test_a_rival_learns(rivals, name):
    torch.manual_seed(0)
    clean = torch.zeros(1, 1, 64, 64)
    clean[..., 16:48, 16:48] = 1
    noisy = clean + 0.3 * torch.randn_like(clean)
    rival = rivals.RIVALS[name]()
    if name == "plain":
        rival.network, rival.patch, rival.batch = rivals.PlainUNet(2, 2), 32, 1
    before = rival.loss(noisy, 0.0).item()
    assert rival.train(noisy, 1.0, steps=80) == 80
    after = rival.loss(noisy, 0.0).item()
    assert after < before
    made = rival.denoise(noisy[..., :61, :50])
    assert made.shape == (1, 1, 61, 50)
    if name != "plain":
        error = (made - clean[..., :61, :50]).square().mean()
        assert error < 0.3**2 / 2


def test_halves_share_no_pixel(rivals):
    image = torch.arange(16.0).view(1, 1, 4, 4)
    first, second = rivals.diagonals(image)
    assert first.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert second.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    image[..., 0, 0] = 100
    changed = rivals.diagonals(image)
    assert torch.equal(changed[0], first)
    assert not torch.equal(changed[1], second)
