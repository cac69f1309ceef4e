"""The gradient of a stack's loss, derived by hand.

`StackedVAE.loss_terms` defines the loss; automatic differentiation gives the same gradient, and a test says so. Derived by
hand, a step takes a third less time: the likelihood's value, whose logarithms cost more than a small model's matrix products, is
not needed, nothing is recorded, all gradients lie in one tensor, and tanh is computed as 2σ(2x) - 1, which PyTorch has
vectorised five times better on a CPU.
"""

import torch
from torch import Tensor

from agent.representation.vae.model import GAUSSIAN_SIGMA, StackedVAE, views
from agent.representation.vae.spec import parameter_shapes
from agent.representation.vae.transforms import affine, affine_gradient


class Gradient:
    """Writes the gradient of Σ over models of (mean over patches of missfit + β · divergence) into `flat`.

    Parameters
    ----------
    stack
        The models. `flat` is laid out as `stack.flat` is.
    """

    def __init__(self, stack: StackedVAE) -> None:
        self.flat = torch.zeros_like(stack.flat)
        self._stack = stack
        self._by = views(self.flat, len(stack.specs), parameter_shapes(stack.union))
        self._kl_weight = stack.kl_weight[:, None, None]
        if stack.present is not None:
            self._kl_weight = self._kl_weight * stack.present

    def __call__(self, x: Tensor, noise: Tensor, drawn: Tensor | None = None, seen: Tensor | None = None) -> None:
        """For patches (E, B, pixels), noise (E, B, latents) and drawn pixels (E, B, k); see `StackedVAE.loss_terms`.

        What the encoder has `seen` may differ from the patches by which the decoder is judged; see `Centred`.
        """
        seen = x if seen is None else seen
        stack, batch = self._stack, x.shape[1]
        h1 = self._tanh("encode1", seen)
        h2 = self._tanh("encode2", h1)
        mean, before = stack.linear("heads", h2).chunk(2, dim=-1)
        spread = torch.nn.functional.softplus(before)
        z = torch.addcmul(mean, spread, noise)
        if stack.present is not None:
            z = z * stack.present
        by_z = self._through_decoder(x, z, drawn) if stack.union.per_pixel else self._through_canvas(x, z)
        if stack.present is not None:
            by_z = by_z * stack.present
        weight = self._kl_weight / batch
        by_spread = by_z * noise + weight * (spread - 1 / (spread + 1e-12))
        by_heads = torch.cat([by_z + weight * mean, by_spread * torch.sigmoid(before)], dim=-1)
        by_h2 = self._back("heads", h2, by_heads)
        by_h1 = self._back("encode2", h1, _through_tanh(by_h2, h2))
        self._weights_only("encode1", seen, _through_tanh(by_h1, h1))

    def _through_canvas(self, x: Tensor, z: Tensor) -> Tensor:
        """The gradient by the latents; those of the fully connected decoder's weights are written."""
        stack, union = self._stack, self._stack.union
        structural = z[..., union.geometric :]
        h1 = self._tanh("decode1", structural)
        h2 = self._tanh("decode2", h1)
        canvas = stack.linear("canvas", h2)
        geometric = []
        if union.geometric:
            places = stack.resampler.places(affine(z, union.invariance))
            by_logits = self._by_logits(stack.resampler(canvas, places), x)
            by_canvas, by_map = stack.resampler.gradient(by_logits, canvas, places)
            geometric = [affine_gradient(by_map, z, union.invariance)]
        else:
            by_canvas = self._by_logits(canvas, x)
        by_h1 = self._back("decode2", h1, _through_tanh(self._back("canvas", h2, by_canvas), h2))
        return torch.cat([*geometric, self._back("decode1", structural, _through_tanh(by_h1, h1))], dim=-1)

    def _through_decoder(self, x: Tensor, z: Tensor, drawn: Tensor | None) -> Tensor:
        """The gradient by the latents; those of the per-pixel decoder's weights are written."""
        stack, union, tensors = self._stack, self._stack.union, self._stack.tensors
        structural = z[..., union.geometric :]
        grid = stack.grid if drawn is None else stack.grid[drawn]
        at = torch.matmul(grid, affine(z, union.invariance).transpose(2, 3))
        models, batch, count, _ = at.shape
        at = at.flatten(1, 2)
        h0 = stack.linear("place", at).view(models, batch, count, -1)
        h0 = h0.add_(torch.bmm(structural, tensors["latent_weight"])[:, :, None]).mul_(2)
        h0 = h0.sigmoid_().mul_(2).sub_(1).flatten(1, 2)
        h1 = self._tanh("decode1", h0)
        h2 = self._tanh("decode2", h1)
        logits = stack.linear("out", h2).view(models, batch, count, -1).transpose(2, 3).flatten(2)
        by_logits = self._by_logits(logits, x if drawn is None else stack.at_pixels(x, drawn)) * (union.window_px**2 / count)
        by_out = by_logits.view(models, batch, -1, count).transpose(2, 3).flatten(1, 2).contiguous()
        by_h1 = self._back("decode2", h1, _through_tanh(self._back("out", h2, by_out), h2))
        by_h0 = _through_tanh(self._back("decode1", h0, _through_tanh(by_h1, h1)), h0)
        by_at = self._back("place", at, by_h0).view(models, batch, count, 2)
        by_code = by_h0.view(models, batch, count, -1).sum(dim=2)
        torch.bmm(structural.transpose(1, 2), by_code, out=self._by["latent_weight"])
        by_structural = torch.bmm(by_code, tensors["latent_weight"].transpose(1, 2))
        by_map = torch.matmul(by_at.transpose(2, 3), grid)
        return torch.cat([affine_gradient(by_map, z, union.invariance), by_structural], dim=-1)

    def _by_logits(self, logits: Tensor, x: Tensor) -> Tensor:
        p = torch.sigmoid(logits)
        if self._stack.union.likelihood == "bernoulli":
            return p.sub_(x).div_(x.shape[1])
        return (p - x) * p * (1 - p) / (GAUSSIAN_SIGMA**2 * x.shape[1])

    def _tanh(self, name: str, h: Tensor) -> Tensor:
        tensors = self._stack.tensors
        twice = torch.baddbmm(tensors[f"{name}_bias"], h, tensors[f"{name}_weight"], beta=2, alpha=2)
        return twice.sigmoid_().mul_(2).sub_(1)

    def _back(self, name: str, h: Tensor, gradient: Tensor) -> Tensor:
        """The gradient by a layer's input, from that by its output; those by its weights and biases are written."""
        self._weights_only(name, h, gradient)
        return torch.bmm(gradient, self._stack.tensors[f"{name}_weight"].transpose(1, 2))

    def _weights_only(self, name: str, h: Tensor, gradient: Tensor) -> None:
        torch.bmm(h.transpose(1, 2), gradient, out=self._by[f"{name}_weight"])
        torch.sum(gradient, dim=1, keepdim=True, out=self._by[f"{name}_bias"])


def _through_tanh(gradient: Tensor, h: Tensor) -> Tensor:
    """The gradient before a tanh whose value is h, in place."""
    return gradient.addcmul_(gradient * h, h, value=-1)
