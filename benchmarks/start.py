"""Start-up time of commands that train nothing: --help, --cfg job, and a refused setting.

    python benchmarks/start.py

Medians of five.
"""

import statistics
import tempfile
import time
from pathlib import Path

from commands import SOURCE, run


def main() -> None:
    """Print the seconds of each command."""
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (["--help"], ["--cfg", "job"], ["epochs=0"]):
            times = []
            for _ in range(5):
                start = time.perf_counter()
                try:
                    run(SOURCE / "train.py", *arguments, folder=Path(folder))
                except RuntimeError:
                    assert arguments == ["epochs=0"]  # refused, as expected
                times.append(time.perf_counter() - start)
            print(f"{' '.join(arguments)}: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
