"""The gradient of a stack's loss, derived by hand.

`StackedVAE.loss_terms` defines the loss; a test compares this gradient with that of automatic differentiation. It makes a step a
third faster: the value of the likelihood, whose logarithms cost more than a small model's matrix products, is not computed,
no graph is recorded, all gradients lie in one tensor, and tanh is computed as 2σ(2x) - 1, which PyTorch vectorises five times
better on a CPU.
"""

import torch
from torch import Tensor

from agent.representation.vae.model import GAUSSIAN_SIGMA, StackedVAE, views
from agent.representation.vae.spec import parameter_shapes
from agent.representation.vae.transforms import affine, affine_gradient


class Gradient:
    """Writes the gradient of the loss, Σ over models of the mean over patches of (NLL + β · divergence), into `flat`.

    Parameters
    ----------
    stack
        The models; `flat` has the layout of `stack.flat`.
    """

    def __init__(self, stack: StackedVAE) -> None:
        self.flat = torch.zeros_like(stack.flat)
        self._stack = stack
        self._by = views(self.flat, len(stack.specs), parameter_shapes(stack.union))
        self._kl_weight = stack.kl_weight[:, None, None]
        if stack.present is not None:
            self._kl_weight = self._kl_weight * stack.present

    def __call__(self, x: Tensor, noise: Tensor, drawn: Tensor | None = None, encoder_input: Tensor | None = None) -> None:
        """Compute the gradient; the first three parameters are those of `StackedVAE.loss_terms`.

        Parameters
        ----------
        x
            Shape (E, B, pixels): patches that the decoder is to reconstruct.
        noise
            Shape (E, B, latents of the union), standard normal.
        drawn
            Shape (E, B, k): pixels that represent all in the likelihood; None for all pixels.
        encoder_input
            Shape (E, B, pixels): input of the encoder if it differs from `x`; see `CentredInput`.
        """
        encoder_input = x if encoder_input is None else encoder_input
        stack, batch = self._stack, x.shape[1]
        h1 = self._tanh("encode1", encoder_input)
        h2 = self._tanh("encode2", h1)
        mean, raw_std = stack.linear("heads", h2).chunk(2, dim=-1)
        std = torch.nn.functional.softplus(raw_std)
        z = torch.addcmul(mean, std, noise)
        if stack.present is not None:
            z = z * stack.present
        by_z = self._through_exact_decoder(x, z, drawn) if stack.union.per_pixel else self._through_warp_decoder(x, z)
        if stack.present is not None:
            by_z = by_z * stack.present
        weight = self._kl_weight / batch
        by_std = by_z * noise + weight * (std - 1 / (std + 1e-12))
        by_heads = torch.cat([by_z + weight * mean, by_std * torch.sigmoid(raw_std)], dim=-1)
        by_h2 = self._through_linear("heads", h2, by_heads)
        by_h1 = self._through_linear("encode2", h1, _through_tanh(by_h2, h2))
        self._weights_only("encode1", encoder_input, _through_tanh(by_h1, h1))

    def _through_warp_decoder(self, x: Tensor, z: Tensor) -> Tensor:
        """Gradient with respect to the latents; writes that of the fully connected decoder's weights."""
        stack, union = self._stack, self._stack.union
        structural = z[..., union.geometric :]
        h1 = self._tanh("decode1", structural)
        h2 = self._tanh("decode2", h1)
        canvas = stack.linear("canvas", h2)
        geometric = []
        if union.geometric:
            coordinates = stack.resampler.coordinates(affine(z, union.invariance))
            by_logits = self._by_logits(stack.resampler(canvas, coordinates), x)
            by_canvas, by_map = stack.resampler.gradient(by_logits, canvas, coordinates)
            geometric = [affine_gradient(by_map, z, union.invariance)]
        else:
            by_canvas = self._by_logits(canvas, x)
        by_h1 = self._through_linear("decode2", h1, _through_tanh(self._through_linear("canvas", h2, by_canvas), h2))
        return torch.cat([*geometric, self._through_linear("decode1", structural, _through_tanh(by_h1, h1))], dim=-1)

    def _through_exact_decoder(self, x: Tensor, z: Tensor, drawn: Tensor | None) -> Tensor:
        """Gradient with respect to the latents; writes that of the per-pixel decoder's weights."""
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
        by_h1 = self._through_linear("decode2", h1, _through_tanh(self._through_linear("out", h2, by_out), h2))
        by_h0 = _through_tanh(self._through_linear("decode1", h0, _through_tanh(by_h1, h1)), h0)
        by_at = self._through_linear("place", at, by_h0).view(models, batch, count, 2)
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

    def _through_linear(self, name: str, h: Tensor, gradient: Tensor) -> Tensor:
        """Gradient with respect to a linear layer's input, from that with respect to its output; writes that of its weights."""
        self._weights_only(name, h, gradient)
        return torch.bmm(gradient, self._stack.tensors[f"{name}_weight"].transpose(1, 2))

    def _weights_only(self, name: str, h: Tensor, gradient: Tensor) -> None:
        torch.bmm(h.transpose(1, 2), gradient, out=self._by[f"{name}_weight"])
        torch.sum(gradient, dim=1, keepdim=True, out=self._by[f"{name}_bias"])


def _through_tanh(gradient: Tensor, h: Tensor) -> Tensor:
    """Gradient with respect to the argument of a tanh with the value h, in place."""
    return gradient.addcmul_(gradient * h, h, value=-1)
