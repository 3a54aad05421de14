"""Time per warm run compared with an empty Hydra app, and memory over two hundred runs.

    python benchmarks/sweep_of_two_hundred.py

Six minutes on two cores. The same sweep, `seed=range(0,200)`, with `src/train.py` and with a Hydra
app that has the same configuration tree and does nothing. Memory is the resident set size after run
20 and run 199.
"""

import tempfile
from pathlib import Path

import psutil
from commands import SOURCE, run

EMPTY = """
import hydra
from visionsweep.runs import names
from visionsweep.config.schema import register_schema

register_schema()
names.register_resolvers()

@hydra.main(version_base="1.3", config_path={conf!r}, config_name="config")
def main(config):
    pass

main()
"""


def main() -> None:
    """Print seconds per run of both, their ratio, and the ratio of memory."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        empty = here / "empty.py"
        empty.write_text(EMPTY.format(conf=str(SOURCE.parent / "conf")))
        tiny = ["model=resnet18", "model.weights=null", "data=sample", "transform.size=64"]
        run(SOURCE / "train.py", *tiny, folder=here)  # warms the store
        memory: dict[int, int] = {}

        def watch(pid: int, line: str) -> None:
            for number in (20, 199):  # the row of a finished run
                if f"{number}/200 " in line:
                    memory[number] = psutil.Process(pid).memory_info().rss

        ours = run(
            SOURCE / "train.py", "-m", "seed=range(0,200)", *tiny, folder=here, on_line=watch
        )
        hydra = run(empty, "-m", "seed=range(0,200)", *tiny, folder=here)
    print(f"seconds per run: ours {ours / 200:.3f}, empty Hydra app {hydra / 200:.3f}")
    print(f"ratio {ours / hydra:.2f}")
    print(
        f"resident memory: run 20 {memory[20] / 1e6:.0f} MB, run 200 {memory[199] / 1e6:.0f} MB, "
        f"ratio {memory[199] / memory[20]:.3f}"
    )


if __name__ == "__main__":
    main()
