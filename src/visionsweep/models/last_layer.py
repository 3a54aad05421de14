"""Remove the last layer of a classification network, so that it ends in features."""

from torch import nn

from visionsweep.errors import UserError


def remove_last_layer(network: nn.Module, name: str) -> tuple[nn.Module, int, float]:
    """Remove the last linear layer of a network in place, and the dropout directly before it.

    Returns:
        The network that ends in features, their number, and the probability of the dropout.

    Raises:
        UserError: if the network, whose architecture is called `name`, has no linear layer.
    """
    if name.startswith("squeezenet"):
        return _remove_convolution(network)
    leaves = [(path, m) for path, m in network.named_modules() if not list(m.children())]
    linear = [i for i, (_, module) in enumerate(leaves) if isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("has no linear layer to replace by a head", where=f"model.name={name}")
    path, last = leaves[linear[-1]]
    assert isinstance(last, nn.Linear)
    network.set_submodule(path, nn.Identity())
    dropout_path, dropout = leaves[linear[-1] - 1]
    if not isinstance(dropout, nn.Dropout):
        return network, last.in_features, 0.0
    network.set_submodule(dropout_path, nn.Identity())
    return network, last.in_features, dropout.p


def _remove_convolution(network: nn.Module) -> tuple[nn.Module, int, float]:
    """Remove SqueezeNet's last layer, a 1x1 convolution before the pooling.

    Pooling first makes it linear in the features.
    """
    classifier = network.classifier
    assert isinstance(classifier, nn.Sequential)
    dropout, convolution = classifier[0], classifier[1]
    assert isinstance(dropout, nn.Dropout) and isinstance(convolution, nn.Conv2d)
    network.classifier = nn.AdaptiveAvgPool2d(1)
    return network, convolution.in_channels, dropout.p
