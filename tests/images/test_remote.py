"""Images in stores: a real web server, fsspec's memory, and what may go wrong there."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import fsspec
import numpy as np
import pytest
import tifffile
import zarr

from napari_blindsound.errors import (
    ImageFormatError,
    ImageNotFoundError,
    MissingExtraError,
)
from napari_blindsound.images.open import open_volume
from napari_blindsound.inference.lazy import source_token


def everything(volume):
    return volume.read(tuple(slice(0, n) for n in volume.shape))


def save(path, array, **options):
    chunks = tuple(min(16, n) for n in array.shape)
    zarr.create_array(path, data=array, chunks=chunks, **options)


def save_image(path, array, version):
    """One level of an OME-Zarr, TCZYX."""
    form = 3 if version == "0.5" else 2
    group = zarr.create_group(path, zarr_format=form)
    save(path / "0", array, zarr_format=form)
    axes = [{"name": name} for name in "tczyx"]
    steps = [{"type": "scale", "scale": [1, 1, 0.5, 0.2, 0.1]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    multiscales = [{"axes": axes, "datasets": datasets, "version": version}]
    attributes = {"multiscales": multiscales}
    group.attrs.update({"ome": attributes} if form == 3 else attributes)


@pytest.fixture
def movie(hyperstack):
    """TCZYX, (3, 2, 4, 30, 45)."""
    return np.ascontiguousarray(hyperstack.swapaxes(1, 2))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_over_http(served, movie, version):
    folder, address, _ = served
    save_image(folder / "a.ome.zarr", movie, version)
    volume = open_volume(f"{address}/a.ome.zarr")
    assert volume.axes.names == "TCZYX"
    assert [axis.scale for axis in volume.axes] == [1, 1, 0.5, 0.2, 0.1]
    assert volume.name == "a.ome.zarr"
    assert volume.source == f"{address}/a.ome.zarr"
    assert np.array_equal(everything(volume), movie)
    copy = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(everything(copy), movie)


def test_of_a_shard_over_http_only_parts_are_fetched(served, rng):
    folder, address, server = served
    array = rng.integers(0, 999, (64, 64)).astype(np.uint16)
    save(folder / "a.zarr", array, shards=(64, 64))
    volume = open_volume(f"{address}/a.zarr")
    region = (slice(16, 32), slice(32, 48))
    assert np.array_equal(volume.read(region), array[region])
    assert server.parts == 2  # the index of the shard, and one chunk


@pytest.mark.parametrize(
    "layout",
    [{}, {"tile": (16, 16), "compression": "zlib"}, {"ome": True}, {"imagej": True}],
    ids=str,
)
def test_tiff_over_http(served, hyperstack, layout):
    folder, address, _ = served
    more = {"metadata": {"axes": "TZCYX"}, "photometric": "minisblack"}
    tifffile.imwrite(folder / "a.tif", hyperstack, **layout, **more)
    volume = open_volume(f"{address}/a.tif")
    assert volume.axes.names == "TZCYX"
    assert volume.name == "a.tif"
    assert np.array_equal(everything(volume), hyperstack)
    region = (slice(1, 2), slice(1, 3), slice(0, 2), slice(6, 23), slice(14, 40))
    copy = pickle.loads(pickle.dumps(volume))
    assert np.array_equal(copy.read(region), hyperstack[region])


def test_what_is_fetched_of_a_tiff_is_what_is_looked_at(served, rng):
    folder, address, server = served
    stack = rng.integers(0, 999, (40, 512, 512)).astype(np.uint16)
    tifffile.imwrite(folder / "a.tif", stack, metadata={"axes": "ZYX"})
    volume = open_volume(f"{address}/a.tif")
    before = server.parts
    region = (slice(20, 21), slice(100, 101), slice(0, 512))
    assert np.array_equal(volume.read(region), stack[region])
    assert server.parts == before + 1


def test_several_files_over_http_are_asked_for_on_a_disk(served, hyperstack):
    from tests.images.test_tiff import write_multifile_ome

    folder, address, _ = served
    write_multifile_ome(folder, hyperstack[:, 0, 0], None)
    with pytest.raises(ImageFormatError, match="in one folder on a disk"):
        open_volume(f"{address}/frame0.ome.tif")


def test_what_is_not_there_or_not_whole_is_named(served, rng):
    folder, address, server = served
    for name in ("none.zarr", "none.ome.tif"):
        with pytest.raises(ImageNotFoundError, match=f"{address}/{name}"):
            open_volume(f"{address}/{name}")
    (folder / "a.tif").write_text("no image")
    with pytest.raises(ImageFormatError, match=r"a.tif is not a readable TIFF"):
        open_volume(f"{address}/a.tif")
    array = rng.random((32, 32))
    tifffile.imwrite(folder / "b.tif", array)
    save(folder / "b.zarr", array)
    volumes = [open_volume(f"{address}/{name}") for name in ("b.tif", "b.zarr")]
    (folder / "b.zarr" / "c" / "1" / "0").write_bytes(b"no chunk")
    with pytest.raises(ImageFormatError, match=rf"chunk c/1/0 of {address}/b.zarr"):
        everything(volumes[1])
    server.shutdown()
    server.server_close()
    for volume in volumes:
        with pytest.raises(ImageFormatError, match=r"cannot be read .*network"):
            everything(volume)


def test_a_server_that_is_not_there_is_said(served):
    _, address, server = served
    server.shutdown()
    server.server_close()
    for name in ("a.zarr", "a.tif"):
        with pytest.raises(ImageFormatError, match=r"check the address, the network"):
            open_volume(f"{address}/{name}")


@pytest.fixture
def memory():
    """A store that fsspec keeps in this process."""
    store = fsspec.filesystem("memory")
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def test_any_store_of_fsspec(memory, movie):
    zarr.create_array("memory://box/a.zarr", data=movie, chunks=(1, 1, 2, 16, 16))
    volume = open_volume("memory://box/a.zarr", axes="TCZYX")
    assert np.array_equal(everything(volume), movie)
    with memory.open("box/a.tif", "wb") as file:
        tifffile.imwrite(file, movie, metadata={"axes": "TCZYX"}, ome=True)
    volume = open_volume("memory://box/a.tif")
    assert volume.axes.names == "TCZYX"
    assert np.array_equal(everything(volume), movie)


@pytest.mark.parametrize("version", [2, 3])
def test_a_name_for_the_pixels_over_http(served, rng, version):
    folder, address, _ = served
    array = rng.random((32, 32))
    save(folder / "a.zarr", array, zarr_format=version)
    tifffile.imwrite(folder / "a.tif", array)
    for name in ("a.zarr", "a.tif"):
        first = source_token(open_volume(f"{address}/{name}"))
        assert first == source_token(open_volume(f"{address}/{name}"))
        chunk = {2: "a.zarr/1.1", 3: "a.zarr/c/1/1"}[version]
        changed = folder / (name if name.endswith("tif") else chunk)
        os.utime(changed, (1e9, 1e9))
        assert first != source_token(open_volume(f"{address}/{name}"))


def test_a_name_for_the_pixels_in_a_store(memory, rng):
    for _ in range(2):
        zarr.create_array("memory://box/a", data=rng.random((8, 8)), overwrite=True)
        name = source_token(open_volume("memory://box/a"))
        assert name == source_token(open_volume("memory://box/a"))
        memory.pipe("box/b.tif", _tiff(rng))
    again = source_token(open_volume("memory://box/b.tif"))
    memory.pipe("box/b.tif", _tiff(rng))
    assert again != source_token(open_volume("memory://box/b.tif"))


def _tiff(rng):
    stream = io.BytesIO()
    tifffile.imwrite(stream, rng.random((8, 8)))
    return stream.getvalue()


def test_a_package_that_is_missing_is_named():
    code = """
import sys
sys.modules["s3fs"] = sys.modules["aiohttp"] = None
from napari_blindsound import open_volume
for url in ("s3://bucket/a.ome.zarr", "s3://b/a.tif", "https://host/a.zarr"):
    try:
        open_volume(url)
    except ImportError as error:
        print(type(error).__name__, error)
"""
    words = [sys.executable, "-c", code]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    lines = said.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(MissingExtraError.__name__) for line in lines)
    assert lines[0].endswith(
        "s3://bucket/a.ome.zarr needs a package for s3: pip install s3fs"
    )
    assert lines[2].endswith("pip install aiohttp")


def test_a_kind_of_store_that_nobody_knows_is_said():
    with pytest.raises(ImageFormatError, match=r"gopher.*such as https://"):
        open_volume("gopher://host/a.zarr")


def test_many_threads_read_one_address(served, rng):
    folder, address, _ = served
    array = rng.integers(0, 999, (8, 32, 32)).astype(np.uint16)
    tifffile.imwrite(folder / "a.tif", array, metadata={"axes": "ZYX"}, tile=(16, 16))
    volume = open_volume(f"{address}/a.tif")
    wrong = []

    def read(plane):
        region = (slice(plane, plane + 1), slice(3, 30), slice(5, 20))
        if not np.array_equal(volume.read(region), array[region]):
            wrong.append(plane)

    threads = [threading.Thread(target=read, args=(plane,)) for plane in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture
def bucket(monkeypatch):
    """Address of a bucket of a local S3 server, and what writes to it."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("there is no moto_server to be an S3 store")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [program, "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = {"key": "a", "secret": "b", "endpoint_url": f"http://127.0.0.1:{port}"}
    # As FSSPEC_S3_ENDPOINT_URL and the like would have it.
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    with subprocess.Popen(words, **quiet) as process:
        try:
            _wait_for(port)
            store = s3fs.S3FileSystem(skip_instance_cache=True, **options)
            store.mkdir("box")
            yield "s3://box", store
        finally:
            process.terminate()


def _wait_for(port, seconds=30):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail("the S3 server does not answer")


def test_s3(bucket, tmp_path, movie):
    address, store = bucket
    save_image(tmp_path / "a.ome.zarr", movie, "0.5")
    store.put(f"{tmp_path}/a.ome.zarr", "box/a.ome.zarr", recursive=True)
    tifffile.imwrite(tmp_path / "a.ome.tif", movie, metadata={"axes": "TCZYX"})
    store.put(f"{tmp_path}/a.ome.tif", "box/a.ome.tif")
    for name in ("a.ome.zarr", "a.ome.tif"):
        volume = open_volume(f"{address}/{name}")
        assert volume.axes.names == "TCZYX"
        assert np.array_equal(everything(volume), movie)
        copy = pickle.loads(pickle.dumps(volume))
        assert np.array_equal(everything(copy), movie)
        token = source_token(volume)
        assert token == source_token(open_volume(f"{address}/{name}"))
    store.pipe("box/a.ome.tif", (tmp_path / "a.ome.tif").read_bytes() + b"\0")
    assert token != source_token(open_volume(f"{address}/a.ome.tif"))
    with pytest.raises(ImageNotFoundError, match=r"box/none.zarr"):
        open_volume(f"{address}/none.zarr")
    with pytest.raises(ImageNotFoundError, match=r"box/none.tif"):
        open_volume(f"{address}/none.tif")
