"""The eight runs, cold and warm, compared with the DataLoader loop of the exercise.

    python benchmarks/plain_loop.py

Five minutes on two cores. VISIONSWEEP_PHOTOGRAPHS=FOLDER uses the real photographs instead of the
sample. Backbones are random (`model.weights=null`), which takes the same time. For the plain
loop, one epoch per model and data size is timed and multiplied by the 15 epochs of 5 and 10. It
keeps freed memory, as ours does, and is counted twice: with the exercise's own work (training and
test images in every epoch), and with the work of VisionSweep, which scores validation images too.
"""

import os
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from commands import SOURCE, photographs, run
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from visionsweep.data.sources import fetch_archive
from visionsweep.data.synthetic.sample import render_sample, sample_files
from visionsweep.runtime.allocation import keep_freed_memory

MODELS = {"effnetb0": "efficientnet_b0", "effnetb2": "efficientnet_b2"}
EPOCHS = 5 + 10


def plain_epoch(name: str, train: Path, scored: list[Path]) -> tuple[float, list[float]]:
    """Time one epoch as in the exercise: images go through the frozen backbone."""
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    model = torchvision.models.get_model(name)
    for parameter in model.features.parameters():
        parameter.requires_grad = False
    model.classifier = torch.nn.Sequential(
        torch.nn.Dropout(0.2), torch.nn.Linear(model.classifier[1].in_features, 3)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    loss_function = torch.nn.CrossEntropyLoss()
    workers = os.cpu_count() or 1
    start = time.perf_counter()
    model.train()
    loader = DataLoader(
        datasets.ImageFolder(train, transform), 32, shuffle=True, num_workers=workers
    )
    for images, labels in loader:
        loss = loss_function(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    training = time.perf_counter() - start
    scoring = []
    model.eval()
    for folder in scored:
        start = time.perf_counter()
        with torch.inference_mode():
            for images, labels in DataLoader(
                datasets.ImageFolder(folder, transform), 32, num_workers=workers
            ):
                loss_function(model(images), labels)
        scoring.append(time.perf_counter() - start)
    return training, scoring


def folders(root: Path) -> tuple[dict[str, Path], Path, Path]:
    """Return the folders of both training sets, the test images, and the validation images."""
    if settings := photographs():
        base_url = settings[0].partition("=")[2]
        ten = fetch_archive(base_url, "pizza_steak_sushi.zip", root)
        twenty = fetch_archive(base_url, "pizza_steak_sushi_20_percent.zip", root)
        # 150 images; VisionSweep validates on the 136 that are not test images
        return {"10pct": ten / "train", "20pct": twenty / "train"}, ten / "test", twenty / "test"
    whole = render_sample(root, 0.2)
    for fraction, name in ((0.1, "10pct"), (0.2, "20pct")):
        for path, label in sample_files(whole, "train", fraction):
            link = root / name / label / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return {"10pct": root / "10pct", "20pct": root / "20pct"}, whole / "test", whole / "val"


def main() -> None:
    """Time VisionSweep cold and warm, then the plain loop, and print the ratios."""
    keep_freed_memory()  # for the plain loop, too
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        train, test, val = folders(here / "data")
        command: list[str | Path] = [SOURCE / "train.py", "-m"]
        command += ["model=effnetb0,effnetb2", "data=10pct,20pct"]
        command += ["epochs=5,10", "model.weights=null", *photographs()]
        if not photographs():
            command += ["data.base_url=http://127.0.0.1:9"]
        cold, warm = run(*command, folder=here), run(*command, folder=here)
        exercise = same_work = 0.0
        for label, name in MODELS.items():
            for data, images in train.items():
                training, (on_test, on_val) = plain_epoch(name, images, [test, val])
                print(f"plain {label} {data}: {training:.1f} s + {on_test:.1f} s + {on_val:.1f} s")
                exercise += EPOCHS * (training + on_test)
                same_work += EPOCHS * (training + on_test + on_val)
    print(f"ours: cold {cold:.1f} s, warm {warm:.1f} s")
    for kind, plain in (("train and test", exercise), ("the same work", same_work)):
        ratios = f"{plain / cold:.1f} x cold, {plain / warm:.0f} x warm"
        print(f"plain loop, {kind}: {plain:.0f} s = {ratios}")


if __name__ == "__main__":
    main()
