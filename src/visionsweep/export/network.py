"""The deployed predictor as one network, from pixels to probabilities."""

import torch
from torch import nn

from visionsweep.inference.predictor import Predictor


class DeployedNetwork(nn.Module):
    """Normalization, backbone, replicates of the head, temperature, and their mean.

    Args:
        predictor: a run's model on the CPU.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        preprocessing = predictor.preprocessing
        self.backbone, self.head = predictor.model.backbone, predictor.model.head
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            self.register_buffer(name, values.view(-1, 1, 1))
        self.temperature = predictor.temperature
        self.size = preprocessing.size
        self.eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return probabilities, `float32[N, classes]`, as `analysis.calibration.calibrated`.

        Args:
            pixels: resized images, `uint8[N, 3, size, size]`.
        """
        images = (pixels.to(torch.float32) / 255 - self.mean) / self.std
        logits = self.head(self.backbone(images).flatten(1).float())
        return torch.softmax(logits / self.temperature, 2).mean(0)

    @property
    def megabytes(self) -> float:
        """Size of all parameters and buffers, in MB."""
        return sum(int(tensor.nbytes) for tensor in self.state_dict().values()) / 1e6
