from __future__ import annotations

import json

import numpy as np
import tifffile

from napari_blindsound.images.phantom import Camera, phantom


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
