"""Time and memory of `compare.py` over ten thousand runs, in each output format.

    python benchmarks/compare_ten_thousand.py [RUNS]

Two minutes on two cores; the runs take 600 MB in a temporary folder. They are in sweeps of 400,
each with a record and logits as `train.py` writes them, all scored on the same images: one table.
Peak memory is the peak resident set size. Each format runs three times with the files in the page
cache; medians are printed. On a busy machine compare CPU seconds, which other work affects less.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from commands import SOURCE, measured
from simulated_runs import simulate

FORMS = ("--top 20", "", "--markdown", "--csv", "--html report.html")


def main() -> None:
    """Print time, memory, and output size of each format."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        start = time.perf_counter()
        simulate(here / "outputs", count)
        print(f"wrote {count:,} runs in {time.perf_counter() - start:.0f} s")
        for form in FORMS:
            turns = [
                measured(SOURCE / "compare.py", "outputs", *form.split(), folder=here)
                for _ in range(3)
            ]
            seconds = statistics.median(turn.seconds for turn in turns)
            cpu_seconds = statistics.median(turn.cpu_seconds for turn in turns)
            memory = max(turn.memory for turn in turns)
            page = here / "report.html"
            size = page.stat().st_size if "--html" in form else len(turns[0].output.encode())
            print(
                f"compare.py outputs {form}: {seconds:.1f} s (CPU {cpu_seconds:.1f} s), "
                f"peak {memory / 1e6:.0f} MB, {size / 1e6:.2f} MB of output",
                flush=True,
            )


if __name__ == "__main__":
    main()
