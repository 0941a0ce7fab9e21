"""The pictures of docs/dashboard.md, taken from a running stack: the job, by its id, its samples, and one of them.

python tools/dashboard_pictures.py http://127.0.0.1:8080 01m89phck7h4kwf976nzeqmfzw docs/images row-17
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

_DESK, _TALL, _PHONE = (1200, 860), (1200, 1180), (390, 844)
_LOW = (1200, 520)
_DRAWN_MS = 800
_COLOURS = 256


def main() -> None:
    """Entry point."""
    site, job, folder, sample = sys.argv[1].rstrip("/"), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    page = f"{site}/tenants/default/jobs/{job}"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        _take(browser, page, folder / "dashboard-job.png", _TALL, "light")
        _take(browser, f"{page}/samples?size=10", folder / "dashboard-samples-dark.png", _DESK, "dark")
        _take(browser, f"{page}/sample?id={quote(sample)}#evidence", folder / "dashboard-sample.png", _TALL, "light")
        _take(browser, f"{site}/tenants/default/students", folder / "dashboard-students.png", _LOW, "light")
        _take(browser, f"{page}/weights", folder / "dashboard-phone.png", _PHONE, "light")
        browser.close()


def _take(browser: Browser, url: str, file: Path, size: tuple[int, int], scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.wait_for_timeout(_DRAWN_MS)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    context.close()


if __name__ == "__main__":
    main()
