"""Feed mutated inputs to what reads other people's files, and report what is no error for a user.

    python tests/fuzz/target.py images|archives|records FIRST COUNT FOLDER

An input that takes `SECONDS` or hangs for `WAITED` ends the process by a signal; FOLDER/input then
holds it, and FOLDER/number which it was. The last line on standard output is a JSON object: how
many inputs came to what, the findings, the memory that the process took at most, and whether it
started others.
"""

import importlib
import json
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

SECONDS = 10  # longest per input, of the processor's time
WAITED = 60  # longest per input by the clock, on a machine that others use too
ADDRESS_SPACE = 8_000_000_000  # bytes; saves the machine, not the target: it must do with 1 GB


def peak_bytes() -> int:
    """Return the most memory that this program has had; `ru_maxrss` counts its parent's, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main(kind: str, first: int, count: int, folder: Path) -> None:
    """Try some inputs and print what came of them."""
    module = importlib.import_module(kind)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    outcomes: Counter[str] = Counter()
    findings = []
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        content = module.make(number)
        (folder / "number").write_text(str(number))
        (folder / "input").write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WAITED)
        try:
            outcomes[module.target(content, work)] += 1
        except Exception:
            outcomes["finding"] += 1
            findings.append({"number": number, "traceback": traceback.format_exc()})
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    peak = peak_bytes()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # 0 if none was started
    report = {"outcomes": outcomes, "findings": findings, "peak_bytes": peak, "children": children}
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
