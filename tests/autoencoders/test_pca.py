"""A linear autoencoder on Gaussian data finds the subspace of PCA, and the exact error that it leaves."""

import torch

from undiffuse.bottlenecks.none import NoneBottleneck
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.losses.l2 import L2Loss
from undiffuse.networks.mlp_autoencoder import MLPAutoencoder
from undiffuse.objectives.autoencoding import Autoencoding


def test_a_linear_autoencoder_finds_the_principal_subspace():
    """arXiv:1711.00937 has no such test: it is Baldi and Hornik's theorem (doi:10.1016/0893-6080(89)90014-2)."""
    torch.manual_seed(0)
    mix = Random(0).normal((6, 6), dtype=torch.float64) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, 0.1])[:, None]
    x = Random(1).normal((400, 6), dtype=torch.float64) @ mix
    x = x - x.mean(0)
    model = Autoencoder(MLPAutoencoder(shape=(6,), latent_channels=2, depth=0), NoneBottleneck()).double()
    objective, batch = Autoencoding(losses=(L2Loss(),)), Batch(x)
    optimiser = torch.optim.LBFGS(model.network.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objective.loss(model, batch, Random(0)).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    variances, axes = torch.linalg.eigh(x.T @ x / len(x))
    principal = axes[:, -2:]
    decoder = torch.linalg.qr(model.last_layer.detach()).Q  # (6, 2): what it can decode to
    torch.testing.assert_close(decoder @ decoder.T, principal @ principal.T, atol=1e-4, rtol=0)
    torch.testing.assert_close(closure().detach(), variances[:-2].sum(), atol=1e-6, rtol=1e-6)
