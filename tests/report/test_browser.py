"""The page of a study in a browser, as wide as a phone and as a desktop: it is drawn, and nothing sticks out."""

from __future__ import annotations

import html
import re
import shutil
import subprocess

import numpy as np
import pytest
from shown_studies import study

from espalier.report.page import page

image = pytest.importorskip("PIL.Image")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEIGHT, SECONDS = 2600, 120
FRAME = """<!DOCTYPE html><body style="margin:0"><iframe id="f" width="{width}" height="{height}" style="border:0"
srcdoc="{page}"></iframe><p id="found"></p><script>
f.onload = () => {{
  const one = f.contentDocument, whole = one.documentElement;
  const seen = [...one.querySelectorAll("h1, h2, p, svg, pre, figure, .scroll, .bar")];
  const wide = seen.filter(e => e.getBoundingClientRect().right > whole.clientWidth + 1);
  found.textContent = [whole.scrollWidth, seen.length, wide.length].join(" ");
}}
</script></body>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")


def browse(folder, *words) -> str:
    """What a headless browser prints. folder: of its profile."""
    common = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000")
    command = [BROWSER, *common, f"--user-data-dir={folder / 'profile'}", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_nothing_sticks_out_and_all_is_drawn(tmp_path, width):
    text = page(study(True, layers=3), "my study").replace("<details>", "<details open>")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width, height=HEIGHT, page=html.escape(text)))
    size, place = f"--window-size={max(width, 600)},{HEIGHT}", frame.as_uri()
    found = re.search(r'<p id="found">(\d+) (\d+) (\d+)</p>', browse(tmp_path, size, "--dump-dom", place))
    assert found, "the page did not load"
    scrolled, seen, wide = map(int, found.groups())
    assert scrolled == width
    assert seen > 20
    assert wide == 0
    browse(tmp_path, size, f"--screenshot={tmp_path / 'shot.png'}", place)
    pixels = np.asarray(image.open(tmp_path / "shot.png").convert("RGB")).astype(int)[:, :width]
    background = pixels[2, 2]
    drawn = (np.abs(pixels - background).max(2) > 40).mean(1) > 0
    assert drawn[: HEIGHT // 3].mean() > 0.25
    for colour in ((0x17, 0x69, 0x4A), (0xC2, 0x57, 0x1A)):  # dots of the front and of built networks
        assert (np.abs(pixels - colour).max(2) < 12).sum() > 20
