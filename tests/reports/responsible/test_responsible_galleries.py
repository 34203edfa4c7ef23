"""Galleries of rebuilt images: shown only where asked for, and read as from a stranger."""

import base64
import json
import struct

import pytest

from fedpriv.experiment.attacking.pictures import data_uri
from fedpriv.reports.html import write
from fedpriv.reports.html.panels import panels
from fedpriv.reports.html.responsible import section
from fedpriv.reports.html.responsible.galleries import MOST_IMAGES, UnfitError, png
from fedpriv.runs import find_runs

HEAD = "data:image/png;base64,"


@pytest.fixture
def image(attacked):
    """A PNG that fedpriv wrote."""
    return json.loads(gallery_files(attacked)[0].read_text())["gallery"][0]["truth"]


@pytest.fixture
def copied(attacked_folder, tmp_path):
    import shutil

    shutil.copytree(attacked_folder, tmp_path / "copy")
    return find_runs([tmp_path / "copy"])


def gallery_files(runs):
    return [one.path / "attacks" / "analytic_inversion.json" for one in runs]


def shown(runs):
    (panel,) = panels(runs.runs)
    return section(panel, with_galleries=True).galleries


def with_gallery(runs, change):
    """Every gallery changed in its file."""
    for file in gallery_files(runs):
        found = json.loads(file.read_text())
        found["gallery"] = change(found["gallery"])
        file.write_text(json.dumps(found))
    return runs


@pytest.mark.slow
def test_no_image_is_shown_unless_asked_for_and_the_page_says_so(attacked, tmp_path):
    write(attacked, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert HEAD not in text
    assert "fedpriv report --galleries" in text
    assert "What was rebuilt" not in text


def test_galleries_are_of_the_least_and_the_most_private_setting_and_warn(attacked, tmp_path):
    write(attacked, tmp_path / "report.html", galleries=True)
    text = (tmp_path / "report.html").read_text()
    assert "The first row shows training examples of these runs" in text
    assert "fedpriv report --galleries" not in text
    titles = [gallery.title for gallery in shown(attacked)]
    firsts = {one.epsilon and round(one.epsilon): one.record.run_id for one in attacked if one.record.seed == 0}
    assert titles == [
        f"analytic_inversion, without privacy, run {firsts[None]}",
        f"analytic_inversion, at epsilon 1, run {firsts[1]}",
    ]
    for gallery in shown(attacked):
        assert [title for title, _ in gallery.rows] == ["the truth", "reconstruction", "nearest other image"]
        for _, pictures in gallery.rows:
            assert len(pictures) == 2
            assert all(f'src="{picture.uri}"' in text for picture in pictures)


@pytest.mark.slow
def test_the_command_has_them_behind_a_switch(command, attacked_folder, tmp_path):
    assert command("report", str(attacked_folder), "-o", "with.html", "--galleries").code == 0
    assert HEAD in (tmp_path / "with.html").read_text()


def test_pngs_that_fedpriv_writes_are_fit(image):
    import numpy as np

    assert png(image) == image
    colour = data_uri(np.linspace(0, 1, 3 * 8 * 8).reshape(3, 8, 8))
    assert png(colour) == colour


def bytes_of(uri):
    return base64.b64decode(uri.removeprefix(HEAD))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda image: None, "no PNG in base64"),
        (lambda image: 5, "no PNG in base64"),
        (lambda image: "https://example.org/x.png", "no PNG in base64"),
        (lambda image: "javascript:alert(1)", "no PNG in base64"),
        (lambda image: image.replace("image/png", "image/svg+xml"), "no PNG in base64"),
        (lambda image: image + '" onerror="alert(1)', "no PNG in base64"),
        (lambda image: HEAD + "äöü", "no PNG in base64"),
        (lambda image: HEAD + base64.b64encode(b"<svg onload=alert(1)>").decode(), "no PNG"),
        (lambda image: HEAD + base64.b64encode(bytes_of(image)[:40]).decode(), "no PNG"),
        (lambda image: HEAD + base64.b64encode(bytes_of(image) + b"\0" * 400_000).decode(), "too large"),
        (
            lambda image: (
                HEAD
                + base64.b64encode(bytes_of(image)[:16] + struct.pack(">II", 9999, 9) + bytes_of(image)[24:]).decode()
            ),
            "too many pixels",
        ),
    ],
)
def test_anything_else_is_refused(image, spoil, reason):
    with pytest.raises(UnfitError, match=reason):
        png(spoil(image))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda gallery: "images", "no list of images"),
        (lambda gallery: [], "no list of images"),
        (lambda gallery: [3], "no list of images"),
        (lambda gallery: gallery * MOST_IMAGES, "more than 8 images"),
        (lambda gallery: [{**gallery[0], "psnr": "high"}], "psnr is no number"),
        (lambda gallery: [{**gallery[0], "baseline": None}], "baseline is no number"),
        (lambda gallery: [{**gallery[0], "label": "x" * 41}], "label is no short text"),
        (lambda gallery: [{**gallery[0], "nearest": "data:text/html,<script>1</script>"}], "no PNG in base64"),
    ],
)
def test_a_damaged_gallery_gives_a_note_in_its_place(copied, change, reason):
    found = shown(with_gallery(copied, change))
    assert [gallery.rows for gallery in found] == [(), ()]
    assert all(reason in gallery.note for gallery in found)


def test_a_damaged_gallery_leaves_the_report_whole(copied, tmp_path):
    write(with_gallery(copied, lambda gallery: [*gallery[:1], 5]), tmp_path / "report.html", galleries=True)
    text = (tmp_path / "report.html").read_text()
    assert HEAD not in text
    assert text.count("The gallery in analytic_inversion.json is not shown: it is no list of images.") == 2
    assert "figure_responsible_membership" in text


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 200_000, b"[]", b'{"gallery": null}', b'{"psnr": NaN}'])
def test_a_file_that_is_no_such_result_gives_a_note(copied, content):
    for file in gallery_files(copied):
        file.write_bytes(content)
    assert [gallery.rows for gallery in shown(copied)] == [(), ()]
    assert all("is not shown" in gallery.note for gallery in shown(copied))


@pytest.mark.slow
def test_markup_in_a_label_is_text(copied, tmp_path):
    hostile = '"><script>window.hacked=1</script>'
    write(with_gallery(copied, lambda gallery: [{**gallery[0], "label": hostile}]), tmp_path / "r.html", galleries=True)
    text = (tmp_path / "r.html").read_text()
    assert "<script>window.hacked" not in text
    assert "&lt;script&gt;window.hacked" in text


def test_a_run_without_its_files_has_no_gallery(copied):
    for file in gallery_files(copied):
        file.unlink()
    (panel,) = panels(copied.runs)
    assert section(panel, with_galleries=True).galleries == []
    assert not section(panel, with_galleries=False).withheld
