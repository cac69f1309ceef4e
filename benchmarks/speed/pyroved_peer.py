"""Reference implementation: pyroVED 0.3.0 with its defaults, as used in the paper, evaluated by our estimator of the ELBO.

Train each model in a process of its own: the constructors of pyroVED clear Pyro's global parameter store, which silently stops
the training of any model constructed before.
"""

import importlib.metadata
import importlib.util
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.commandline import CannotRunError

VERSION = "0.3.0"
INVARIANCES = {"v": None, "r": ["r"], "rt": ["r", "t"]}
BATCH_SIZE = 128
EPOCHS = 1000
REFERENCE = Path(sys.prefix) / "reference"  # where `make reference` installs it
_DRAWS = 16  # number of latent samples for the held-out ELBO


def require_pyroved() -> None:
    """Check that the reference version of pyroVED is installed.

    Raises
    ------
    CannotRunError
        If it is not.
    """
    if REFERENCE.is_dir() and str(REFERENCE) not in sys.path:
        sys.path.append(str(REFERENCE))
    advice = "fetch it with: make reference"
    if importlib.util.find_spec("pyroved") is None:
        raise CannotRunError(f"this benchmark compares with pyroVED, which is not installed; {advice}")
    found = importlib.metadata.version("pyroved")
    if found != VERSION:
        raise CannotRunError(f"this benchmark compares with pyroVED {VERSION}, but {found} is installed; {advice}")


def import_pyroved() -> Any:
    """The package pyroVED, with a stand-in for torchvision, which it needs only for drawing."""
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is None:
        torchvision, utils = types.ModuleType("torchvision"), types.ModuleType("torchvision.utils")
        utils.make_grid = _no_drawing  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": torchvision, "torchvision.utils": utils}
    import pyroved

    return pyroved


def _no_drawing(*args: Any, **kwargs: Any) -> None:
    raise NotImplementedError("torchvision is not installed, so drawing is not possible")


def train_pyroved(
    patches: np.ndarray,
    held_out: np.ndarray,
    invariance: str,
    *,
    epochs: int,
    warm_up_epochs: int = 1,
    judge_every: int = 0,
    time_limit_s: float = float("inf"),
    seed: int = 1,
) -> dict[str, Any]:
    """CPU seconds of training by pyroVED on one thread, and the course of its held-out ELBO per pixel.

    Parameters
    ----------
    patches
        Shape (n, window, window): patches, float32, in [0, 1].
    held_out
        Shape (n,): whether a patch is held out from training.
    invariance
        "v", "r" or "rt".
    epochs
        Number of epochs, including the warm-up.
    warm_up_epochs
        Number of first epochs that are excluded from the mean time of an epoch.
    judge_every
        Number of epochs between evaluations of the held-out ELBO, whose time does not count; 0 evaluates only at the end.
    time_limit_s
        Wall time in seconds after which training stops early; `epochs` in the result is the number of finished epochs.
    seed
        Seed of pyroVED.

    Returns
    -------
    dict
        `epochs`; `cpu_s` of all; `epoch_cpu_s`, the mean of an epoch after the warm-up; `curve`, a list of [epoch, ELBO per
        pixel, CPU seconds so far].
    """
    import torch

    torch.set_num_threads(1)
    pv = import_pyroved()
    window = patches.shape[-1]
    beta = window**2 / 400
    train, test = (torch.from_numpy(np.ascontiguousarray(patches[rows])) for rows in (~held_out, held_out))
    model = pv.models.iVAE((window, window), 2, INVARIANCES[invariance], seed=seed, device="cpu")
    trainer = pv.trainers.SVItrainer(model, seed=seed, device="cpu")
    loader = pv.utils.init_dataloader(train, batch_size=BATCH_SIZE)
    curve: list[list[float]] = []
    cpu_s = warm_up_s = 0.0
    started, done = time.perf_counter(), 0
    for epoch in range(1, epochs + 1):
        before = time.process_time()
        trainer.step(loader, scale_factor=beta)
        cpu_s += time.process_time() - before
        if epoch <= warm_up_epochs:
            warm_up_s = cpu_s
        done = epoch
        late = time.perf_counter() - started > time_limit_s
        if late or epoch == epochs or (judge_every and epoch % judge_every == 0):
            curve.append([epoch, held_out_elbo_per_px(model, test, beta), cpu_s])
        if late:
            break
    timed = max(done - warm_up_epochs, 1)
    return {"epochs": done, "cpu_s": cpu_s, "epoch_cpu_s": (cpu_s - warm_up_s) / timed, "curve": curve}


def held_out_elbo_per_px(model: Any, x: Any, beta: float) -> float:
    """Held-out ELBO per pixel in nats: reconstruction, averaged over latent samples, minus β times the KL in closed form.

    The agent's own models are evaluated by the same estimator.
    """
    import torch
    from pyroved.utils import transform_coordinates

    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        mean, spread = model.encoder_z(x)
        divergence = (0.5 * (mean**2 + spread**2 - 1) - torch.log(spread + 1e-12)).sum(dim=1).mean()
        likelihood = 0.0
        for _ in range(_DRAWS):
            z = mean + spread * torch.randn(mean.shape, generator=generator)
            if model.coord:
                angle, shift, scale, z = model.split_latent(z)
                if "t" in model.invariances:
                    shift = (shift * model.t_prior).unsqueeze(1)
                grid = model.grid.expand(len(x), *model.grid.shape)
                p = model.decoder(transform_coordinates(grid, angle, shift, scale), z)
            else:
                p = model.decoder(z)
            loss = torch.nn.functional.binary_cross_entropy(p.reshape(len(x), -1), x.reshape(len(x), -1), reduction="none")
            likelihood -= float(loss.sum(dim=1).mean()) / _DRAWS
    return (likelihood - beta * float(divergence)) / x[0].numel()
