from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from napari_blindsound.api import train
from napari_blindsound.errors import OutputError, OutputExistsError
from napari_blindsound.images.axes import Axes
from napari_blindsound.images.phantom import phantom
from napari_blindsound.images.volume import Volume
from napari_blindsound.inference.denoiser import Denoiser
from napari_blindsound.quality.report import report
from napari_blindsound.quality.trust import trust

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"width": 4, "depth": 2}


@pytest.fixture(scope="module")
def tested():
    """A model of two channels, its image, and what the tests say."""
    volume = phantom("timelapse", size=128, frames=2, channels=2, seed=6).volume()
    model = train(volume, steps=20, settings=SMALL)
    return trust(model, volume), model, volume


@pytest.fixture(scope="module")
def page(tested, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "page.html"
    assert report(*tested, path) == path
    return path.read_text()


class Elements(HTMLParser):
    """Tags that are open, the text, and the addresses that are asked for."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_needs_no_other_file(page):
    elements = Elements()
    elements.feed(page)
    assert elements.open == []
    assert len(elements.addresses) == 2
    assert all(text.startswith("data:image/") for text in elements.addresses)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", page)
    assert "@page { size: A4" in page


def test_the_page_says_what_was_tested_how_and_with_what_outcome(page, tested):
    found, model, _ = tested
    elements = Elements()
    elements.feed(page)
    text = " ".join(elements.words)
    for channel in found.channels:
        assert f"{channel.title.removeprefix(' of ')}: {channel.verdict}" in text
    shown = max(found.channels, key=lambda c: c.verdict == found.verdict)
    for finding in shown.findings:
        assert finding.found in text
        assert finding.advice in text
    for fact in ("Blind2Unblind", "preset fast", "width 4", "20 + 20 steps", "seed 0",
                 "torch 2", model.revision, "phantom-timelapse-6", "0.27 µm",
                 "uint16", "gain"):  # fmt: skip
        assert fact in text, fact
    assert found.summary in text


def test_names_are_no_html(tested, tmp_path):
    found, model, volume = tested
    odd = Volume(volume.levels, volume.axes, "<b>&cells", volume.channel_names)
    text = report(found, model, odd, tmp_path / "odd.html").read_text()
    assert "<b>&cells" not in text
    assert "&lt;b&gt;&amp;cells" in text


def test_pictures_show_before_after_and_what_was_removed(page):
    [picture] = re.findall(r'data:image/png;base64,([^"]*)"', page)
    data = base64.b64decode(picture)
    assert data.startswith(b"\x89PNG")
    [plots] = re.findall(r'data:image/svg\+xml;base64,([^"]*)"', page)
    assert b"</svg>" in base64.b64decode(plots)


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_one_sheet_of_a4(tested, tmp_path, suffix):
    path = report(*tested, tmp_path / f"page{suffix}")
    if suffix == ".pdf":
        data = path.read_bytes()
        assert data.startswith(b"%PDF")
        assert data.count(b"/Type /Page ") == 1
        return
    with Image.open(path) as picture:
        width, height = picture.size
        assert height / width == pytest.approx(297 / 210, abs=0.01)
        gray = np.asarray(picture.convert("L"))
    inked = np.flatnonzero((gray < 250).any(axis=1))
    assert inked[0] > 0.01 * height
    assert inked[-1] < 0.99 * height
    inked = np.flatnonzero((gray < 250).any(axis=0))
    assert inked[0] > 0.03 * width
    assert inked[-1] < 0.97 * width


def test_the_same_tests_give_the_same_file(tested, tmp_path):
    first, second = (
        report(*tested, tmp_path / name).read_bytes() for name in ("a.html", "b.html")
    )
    strip = re.compile(rb"data:image/svg[^\"]*")
    assert strip.sub(b"", first) == strip.sub(b"", second)


def test_an_earlier_report_is_replaced_only_when_asked(tested, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="overwrite"):
        report(*tested, path)
    assert path.read_text() == "mine"
    report(*tested, path, overwrite=True)
    assert "mine" not in path.read_text()[:100]
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_a_place_that_cannot_be_written_is_said(tested, tmp_path):
    with pytest.raises(OutputError, match=r"\.html, \.png, \.pdf"):
        report(*tested, tmp_path / "page.docx")
    with pytest.raises(OutputError, match="folder that exists"):
        report(*tested, tmp_path / "none" / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_tested_is_left_out(tmp_path):
    """A small float image of unknown scale, and a model that returns no numbers."""
    volume = Volume(
        (phantom("2d", size=32).noisy[:24].astype(np.float32),), Axes.parse("YX"), "s"
    )
    model = train(volume, steps=2, settings=SMALL)
    report(trust(model, volume), model, volume, tmp_path / "small.png")
    with torch.no_grad():
        model.methods[0].network.last[2].bias.fill_(float("nan"))
    broken = trust(model, volume)
    assert (
        "no numbers" in report(broken, model, volume, tmp_path / "b.html").read_text()
    )
    report(broken, model, volume, tmp_path / "b.png")


def test_a_model_without_provenance_is_reported_too(tested, tmp_path):
    found, model, volume = tested
    bare = Denoiser(model.methods, model.preprocessing)
    text = report(found, bare, volume, tmp_path / "bare.html").read_text()
    assert "Blind2Unblind, estimate visible" in text


def test_matplotlib_is_loaded_only_to_draw():
    code = (
        "import sys; import napari_blindsound.quality.report as r;"
        "import napari_blindsound.cli.trusting;"
        "sys.exit('matplotlib' in sys.modules or 'pyplot' in repr(sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
