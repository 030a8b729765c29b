"""Open an image of any size in napari and denoise what you look at.

    python examples/lazy_layer_in_napari.py stack.ome.zarr --model model.blindsound

Scrolling shows the noisy plane at once and the denoised one as soon as it is ready. The
whole result is there for scripts, too, as dask arrays. Without arguments, a synthetic
stack is made and a model trained on it for some seconds.
"""

from __future__ import annotations

import argparse

import napari
from qtpy.QtCore import QTimer

import napari_blindsound as nb
from napari_blindsound.gui.lazy_layer import add_lazy_layer
from napari_blindsound.images.layers import volume_to_layer
from napari_blindsound.images.phantom import phantom


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?", help="an OME-Zarr, or any other image")
    parser.add_argument("--model", help="a model trained on such images")
    parser.add_argument("--seconds", type=float, default=20, help="to train, without")
    parser.add_argument("--steps", type=int, help="end earlier, after so many steps")
    parser.add_argument("--size", type=int, default=512, help="side of the synthetic")
    parser.add_argument("--close-after", type=float, help="seconds, for a quick look")
    options = parser.parse_args()

    if options.image:
        volume = nb.open_volume(options.image)
    else:
        volume = phantom("zstack", size=options.size).volume()
    if options.model:
        model = nb.load(options.model)
    else:
        model = nb.train(volume, seconds=options.seconds, steps=options.steps)

    viewer = napari.Viewer()
    data, settings, _ = volume_to_layer(volume)
    noisy = viewer.add_image(data, **settings)
    layer = add_lazy_layer(viewer, model, volume, noisy)

    facts = layer.metadata["napari_blindsound"]
    print(f"{layer.name}: {facts['denoised'][0]}")
    facts["lazy"].pending_changed.connect(lambda count: print(f"{count} tiles left"))
    if options.close_after:
        QTimer.singleShot(round(1000 * options.close_after), viewer.close)
    napari.run()


if __name__ == "__main__":
    main()
