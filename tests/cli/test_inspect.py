from __future__ import annotations

import json
import re

import numpy as np
import tifffile
from PIL import Image

from napari_blindsound.images.phantom import Camera, phantom
from napari_blindsound.quality import facts


def test_facts_and_noise_at_a_glance(cli, recording):
    said = cli("inspect", recording)
    assert said.code == 0, said.err
    assert "T 4 x Y 72 x X 80" in said.out
    assert "T 2.5 s, Y 0.216 µm, X 0.108 µm" in said.out
    assert "uint16" in said.out
    assert f"blindsound run {recording} -o cells_denoised.ome.zarr" in said.out
    assert "only 23040 pixels" in said.out


def test_numbers_are_those_of_the_camera(cli, tmp_path):
    camera = Camera(gain=3.0, offset=200.0, read_noise=4.0)
    made = phantom("2d", size=384, photons=60.0, camera=camera)
    noisy = made.noisy.copy()
    noisy[::97, ::89] = 4000
    tifffile.imwrite(tmp_path / "cells.tif", noisy)
    data = json.loads(cli("inspect", tmp_path / "cells.tif", "--json").out)
    assert data["shape"] == [384, 384]
    assert data["axes"][0]["name"] == "Y"
    noise = data["noise"][0]
    np.testing.assert_allclose(noise["gain"], 3.0, rtol=0.15)
    np.testing.assert_allclose(noise["offset"], 203.6, atol=6)
    light = (made.clean - 200) / 3
    np.testing.assert_allclose(
        noise["photons_bright"], np.percentile(light, 99), rtol=0.2
    )
    snr = (noise["bright"] - noise["low"]) / (3 * np.percentile(light, 99) ** 0.5)
    np.testing.assert_allclose(noise["signal_to_noise"], snr, rtol=0.2)
    hot = len(range(0, 384, 97)) * len(range(0, 384, 89)) / noisy.size
    np.testing.assert_allclose(noise["hot"], hot, rtol=0.3)


def test_advice_on_saturation_few_photons_and_channels(cli, tmp_path):
    dim = phantom("2d", size=400, photons=0.7).noisy
    camera = Camera(gain=20.0, bit_depth=8)
    harsh = phantom("2d", size=400, photons=40.0, camera=camera).noisy
    path = tmp_path / "two.ome.tif"
    names = {"axes": "CYX", "Channel": {"Name": ["dim", "harsh"]}}
    tifffile.imwrite(path, np.stack([dim, harsh]), ome=True, metadata=names)
    said = cli("inspect", path)
    assert "Noise of dim" in said.out
    assert "The noise of dim is as strong as the signal" in said.out
    assert "of harsh are saturated" in said.out
    assert "--channels joint" in said.out
    only = cli("inspect", path, "--channel", "dim")
    assert "harsh" not in only.out


def test_an_image_without_noise_is_called_so(cli, tmp_path):
    ramp = np.add.outer(np.arange(64), 3 * np.arange(64)).astype(np.float32)
    tifffile.imwrite(tmp_path / "ramp.tif", ramp)
    assert "No noise was found" in cli("inspect", tmp_path / "ramp.tif").out


def test_intervals_and_what_they_rest_on(cli, tmp_path):
    made = phantom("timelapse", size=256, frames=4, photons=40.0)
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, made.noisy, imagej=True, metadata={"axes": "TYX"})
    said = cli("inspect", path)
    assert said.code == 0, said.err
    [gain] = re.findall(r"gain +([\d.]+) counts a photon \(([\d.]+) to", said.out)
    assert float(gain[1]) < float(gain[0])
    assert re.search(r"expected gain +\d+ to \d+ dB less error", said.out)
    assert "neighbors      The noise is independent from pixel to pixel" in said.out
    assert "3 rows above" not in said.out
    data = json.loads(cli("inspect", path, "--json").out)
    [noise] = data["noise"]
    assert facts.SOURCES[noise["calibration"]["source"]] in said.out
    assert noise["calibration"]["gain"]["low"] < noise["gain"]
    assert noise["correlation"]["verdict"] == "white"
    assert len(noise["correlation"]["map"]) == 7


def test_shared_noise_has_its_map_and_its_option(cli, tmp_path):
    noise = np.random.default_rng(0).normal(0, 9, (300, 301))
    shared = 400 + noise[:, 1:] + 0.8 * noise[:, :-1]
    tifffile.imwrite(tmp_path / "rows.tif", shared.astype(np.float32))
    said = cli("inspect", tmp_path / "rows.tif")
    lines = said.out.splitlines()
    start = next(i for i, line in enumerate(lines) if "3 rows above" in line)
    square = np.array([line.split() for line in lines[start + 1 : start + 8]], float)
    assert square.shape == (7, 7)
    assert square[3, 3] == 1
    assert square[3, 4] > 0.3 > 0.1 > abs(square[2, 3])
    assert "--region overrides it" in said.out
    help_of_run = cli("run", "--help")
    assert "--region" in help_of_run.out


def test_a_picture_of_the_noise(cli, tmp_path, refused):
    made = phantom("2d", size=128, photons=40.0)
    path = tmp_path / "two.ome.tif"
    both = np.stack([made.noisy, made.noisy[::-1]])
    tifffile.imwrite(path, both, ome=True, metadata={"axes": "CYX"})
    picture = tmp_path / "noise.png"
    said = cli("inspect", path, "--plot", picture, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["plot"] == str(picture)
    image = np.asarray(Image.open(picture))
    assert image.shape[0] > image.shape[1] / 2  # a row each
    assert (image[..., :3].std(axis=-1) > 20).mean() > 0.003  # colors: points and map
    assert "choose another name" in refused("inspect", path, "--plot", picture)
    before = picture.read_bytes()
    assert cli("inspect", path, "--plot", picture, "--overwrite").code == 0
    assert picture.read_bytes() == before
    assert ".pdf" in refused("inspect", path, "--plot", tmp_path / "noise.txt")
    nowhere = tmp_path / "nowhere" / "noise.png"
    assert "choose a folder" in refused("inspect", path, "--plot", nowhere)


def test_drawing_is_imported_only_to_draw(run, tmp_path):
    tifffile.imwrite(tmp_path / "it.tif", phantom("2d", size=64).noisy)
    loaded = run(
        "import contextlib, io, json, sys\n"
        "from napari_blindsound.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    code = main(['inspect', {str(tmp_path / 'it.tif')!r}])\n"
        "print(json.dumps([code, 'matplotlib' in sys.modules]))"
    )
    assert loaded == [0, False]


def test_bad_images_are_told_of_in_words(cli, tmp_path):
    made = phantom("2d", size=128, photons=20.0).noisy
    for name, counts in {
        "tiny": made[:12, :12],
        "clipped": np.maximum(made.astype(int) - 110, 0).astype(np.uint16),
        "quantized": made // 16 * 16,
    }.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", counts)
        said = cli("inspect", tmp_path / f"{name}.tif")
        assert said.code == 0, said.err
        assert f"not known: the image is {name}" in said.out or f": {name}" in said.out
        noise = cli("inspect", tmp_path / f"{name}.tif", "--json").out
        assert "Infinity" not in noise
        assert "NaN" not in noise
