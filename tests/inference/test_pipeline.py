from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import zarr

from napari_blindsound.errors import OutputError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.store import WriteConfig, write

SMALL = WriteConfig(chunk=32, shard=64)


def volume_of(array):
    return Volume((array,), Axes.parse("ZYX"), "cells")


def pixels_of(path):
    return zarr.open_array(path / "0", mode="r")[:]


def test_a_device_computes_while_processors_prepare(tmp_path, pyramid, noisy):
    """No device here: a stand-in that says it has one, and lets one in at a time."""
    door, inside, waiting = threading.Lock(), [], []

    class OnDevice(pyramid):
        def core(self, padded, halo):
            waiting.append(1)
            time.sleep(0.01)  # prepared, by several threads at once
            most = len(waiting)
            with door:
                inside.append(most)
                done = super().core(padded, halo)
            waiting.pop()
            return done

    volume = volume_of(noisy((4, 130, 130)))
    list(write(pyramid(), volume, tmp_path / "cpu.ome.zarr", SMALL))
    operator = OnDevice(device="mps")
    events = list(write(operator, volume, tmp_path / "mps.ome.zarr", SMALL))
    assert events[-1].done == events[-1].total
    assert threading.get_ident() not in operator.threads
    assert 1 < len(operator.threads) <= 3
    assert max(inside) > 1
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "mps.ome.zarr"), pixels_of(tmp_path / "cpu.ome.zarr")
    )


def test_a_device_short_of_memory_gets_smaller_tiles(tmp_path, pyramid, noisy):
    volume = volume_of(noisy((4, 130, 130)))
    list(write(pyramid(), volume, tmp_path / "cpu.ome.zarr", SMALL))
    operator = pyramid(device="mps", most_pixels=70 * 70)
    list(write(operator, volume, tmp_path / "mps.ome.zarr", SMALL))
    assert max(n * h * w for n, _, h, w in operator.shapes) > 70 * 70
    np.testing.assert_allclose(
        pixels_of(tmp_path / "mps.ome.zarr"),
        pixels_of(tmp_path / "cpu.ome.zarr"),
        rtol=1e-6,
    )


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_failing_device_and_an_abandoned_run_leave_no_threads(
    device, tmp_path, pyramid, noisy
):
    class Failing(pyramid):
        def core(self, padded, halo):
            if len(self.shapes) == 5:
                msg = "cosmic ray"
                raise RuntimeError(msg)
            return super().core(padded, halo)

    volume = volume_of(noisy((9, 130, 130)))
    before = threading.enumerate()
    with pytest.raises(RuntimeError, match="cosmic ray"):
        list(write(Failing(device=device), volume, tmp_path / "a.ome.zarr", SMALL))
    events = write(pyramid(device=device), volume, tmp_path / "b.ome.zarr", SMALL)
    next(events)
    events.close()
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.startswith("blindsound")]


def test_a_pyramid_that_cannot_be_written_is_an_output_error(tmp_path, pyramid, noisy):
    volume, path = volume_of(noisy((2, 300, 300))), tmp_path / "o.ome.zarr"
    config = SMALL.model_copy(update={"levels": 3})
    events = write(pyramid(), volume, path, config)
    next(events)
    # In place of a disk that is full or gone: even root cannot write below a file.
    (tmp_path / "o.ome.zarr.partial" / "1" / "c").write_bytes(b"")
    with pytest.raises(OutputError, match=r"cannot write.*is kept and can be cont"):
        list(events)
    (tmp_path / "o.ome.zarr.partial" / "1" / "c").unlink()
    *_, last = write(
        pyramid(), volume, path, config.model_copy(update={"resume": True})
    )
    assert last.path == path
    list(write(pyramid(), volume, tmp_path / "whole.ome.zarr", config))
    for level in "012":
        found = zarr.open_array(path / level, mode="r")[:]
        whole = zarr.open_array(tmp_path / "whole.ome.zarr" / level, mode="r")[:]
        np.testing.assert_array_equal(found, whole)
