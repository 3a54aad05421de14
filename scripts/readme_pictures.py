r"""Take README's pictures of a sweep in Chromium: its report, and what TensorBoard opens on.

    python src/train.py -m model=effnetlite0,effnetlite2 data=sample data.fraction=0.1,0.2 \
        epochs=5,10
    python scripts/readme_pictures.py outputs/DATE/TIME

Needs chromium and chromedriver. Use the rendered sample: photographs are not ours to publish.
"""

import argparse
import shutil
import time
from pathlib import Path

from selenium import webdriver

from visionsweep.tensorboard import server

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, REPORT_HEIGHT, TENSORBOARD_HEIGHT = 1400, 1480, 860  # pixels
PATIENCE = 10  # seconds until all charts are drawn


def main() -> None:
    """Write `docs/images/report.png` and `docs/images/tensorboard.png`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, help="directory of the sweep")
    sweep = parser.parse_args().sweep.resolve()
    report = sweep / "report.html"
    if not report.is_file():
        parser.error(f"{report} does not exist; name the directory of a sweep")
    take(report.as_uri(), IMAGES / "report.png", REPORT_HEIGHT)
    board = server.serve(sweep, port=0)
    runs = [path.parent.name for path in sweep.glob("*/result.json")]
    server.wait_for(board, runs, seconds=60)
    take(server.address_of(board), IMAGES / "tensorboard.png", TENSORBOARD_HEIGHT)


def take(address: str, picture: Path, height: int) -> None:
    """Open an address in Chromium and write a picture of the window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("headless", "no-sandbox", "hide-scrollbars", "force-color-profile=srgb"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as page:
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.get(address)
        time.sleep(PATIENCE)
        page.save_screenshot(str(picture))


if __name__ == "__main__":
    main()
