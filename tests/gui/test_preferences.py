from __future__ import annotations

from pathlib import Path

import npe2
import pytest

from napari_blindsound.gui.preferences import NAME, Preferences, preferences


@pytest.fixture
def registered(plugin_settings, npe2pm):
    """Settings of the plugin alone, stored in the test's own folder."""
    from napari.settings import get_plugin_settings

    npe2pm.register(npe2.PluginManifest.from_distribution(NAME))
    return get_plugin_settings(NAME)


def test_the_manifest_has_the_same_defaults(registered):
    assert preferences() == Preferences()


def test_what_is_set_in_napari_is_read(registered, tmp_path):
    registered.denoising.device = "cpu"
    registered.denoising.model_folder = str(tmp_path)
    registered.denoising.preview_seconds = 2.5
    registered.denoising.tile_memory_gb = 4
    assert preferences() == Preferences("cpu", tmp_path, 2.5, 4.0)
    assert "preview_seconds: 2.5" in registered.config_path.read_text()


def test_a_folder_in_the_home_may_be_written_short(registered):
    registered.denoising.model_folder = "~/models"
    assert preferences().model_folder == Path.home() / "models"


def test_what_cannot_be_is_refused_by_napari(registered):
    with pytest.raises(ValueError, match="device"):
        registered.denoising.device = "abacus"
    with pytest.raises(ValueError, match="preview_seconds"):
        registered.denoising.preview_seconds = 0


def test_defaults_where_napari_does_not_know_the_plugin(plugin_settings):
    assert preferences() == Preferences()


def test_defaults_where_napari_has_no_settings_of_plugins(monkeypatch):
    monkeypatch.delattr("napari.settings.get_plugin_settings")
    assert preferences() == Preferences()


def test_no_folder_is_made(registered):
    before = preferences().model_folder.exists()
    assert preferences().model_folder.is_absolute()
    assert preferences().model_folder.exists() == before
