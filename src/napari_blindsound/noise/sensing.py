"""What Blind2Sound's noise estimator learns from: noise of one after the transform.

With the right gain and read noise, the generalized Anscombe transform makes the noise
of every pixel as large as one. So the loss measures the noise that is left in the
transformed image and in parts of it, and pulls it towards one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_blindsound.noise.eigenvalue import noise_level

if TYPE_CHECKING:
    from torch import Tensor

_WHOLE, _WHOLE_COLOR = 1.5, 2.0
_LEAST_GAIN = 1e-8
"""Squares of its inverse still fit float32."""


def gat(noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    r"""Make noise of variance alpha x + sigma^2 nearly one everywhere.

    .. math:: G(y) = 2 \sqrt{\max(y/\alpha + 3/8 + (\sigma/\alpha)^2, 0)}

    Parameters
    ----------
    noisy : Tensor
        Any shape, with a dark level of zero.
    alpha, sigma : Tensor
        Gain, above zero, and standard deviation of the read noise, in the unit of
        `noisy`; broadcastable to it.

    Returns
    -------
    Tensor
        Of the same shape. Where the root is of nothing, the gradient is zero.

    References
    ----------
    Makitalo, Foi: Optimal Inversion of the Generalized Anscombe Transformation for
    Poisson-Gaussian Noise, IEEE TIP 22(1), 2013, equation (2).
    """
    return _stabilized(noisy, alpha, sigma**2)


def blended_variance(v1: Tensor, v2: Tensor, lam: float) -> Tensor:
    r"""Variance :math:`(v_1 + \lambda^2 v_2) / (1 + \lambda)^2` of the read noise.

    That of the blind and the visible branch, of variances `v1` and `v2`, weighed
    1 : lambda and taken as independent (Blind2Sound, equation (10)).
    """
    return (v1 + lam**2 * v2) / (1 + lam) ** 2


def sensing_loss(
    noisy: Tensor, v1: Tensor, v2: Tensor, alpha: Tensor, lam: float
) -> Tensor:
    r"""Blind2Sound's loss of the noise estimator, a mean over the images.

    The transform has one gain and one variance, :func:`blended_variance`, an image.
    With eta the noise level of a transformed image of one channel, and of its four
    corners s, 3/4 as high and wide:

    .. math:: 1.5 (\eta - 1)^2 + \tfrac14 \sum_s (\eta_s - 1)^2

    With C channels, which share the transform:

    .. math:: \sum_{c > 0} (\eta_0 - \eta_c)^2
              + \tfrac1C \sum_c \Bigl( 2 (\eta_c - 1)^2
              + \tfrac14 \sum_s (\eta_{c,s} - 1)^2 \Bigr)

    which is a reading: of the authors' loss for colors the kinds of terms are known,
    not how they are summed.

    Parameters
    ----------
    noisy : Tensor
        (B, C, H, W), with a dark level of zero.
    v1, v2 : Tensor
        (B,), or one number: variance of the read noise in the blind and in the visible
        branch, not below zero.
    alpha : Tensor
        (B,), or one number: gain, above zero.
    lam : float
        Weight lambda of the visible branch.

    Returns
    -------
    Tensor
        One number, finite, with a finite gradient. A noise level that cannot be known
        counts as one, so that it pulls nowhere: that of corners, in images of less than
        54 x 54 pixels, and of whole ones of less than 40 x 40. Images with impossible
        pixels or numbers are left out; without any image left, it is zero.

    References
    ----------
    Wang, Liu, Zhai, Han: Blind2Sound: Self-Supervised Image Denoising without Residual
    Noise, ICCV 2025, arXiv:2303.05183.
    """
    numbers = [number.expand(len(noisy)) for number in (v1, v2, alpha)]
    usable = _usable(noisy, *numbers)
    v1, v2, alpha = (
        torch.where(usable, number, 1)[:, None, None, None] for number in numbers
    )
    safe = torch.where(usable[:, None, None, None], noisy, 0)
    stabilized = _stabilized(safe, alpha, blended_variance(v1, v2, lam))
    whole = _known(noise_level(stabilized))
    corners = torch.stack(
        [_known(noise_level(corner)) for corner in _corners(stabilized)]
    )
    weight = _WHOLE if whole.shape[1] == 1 else _WHOLE_COLOR
    each = weight * (whole - 1) ** 2 + ((corners - 1) ** 2).mean(0)
    between = (whole[:, :1] - whole[:, 1:]) ** 2
    loss = each.mean(1) + between.sum(1)
    return torch.where(usable, loss, 0).sum() / usable.sum().clamp(min=1)


def _stabilized(noisy: Tensor, alpha: Tensor, variance: Tensor) -> Tensor:
    light = noisy / alpha + 3 / 8 + variance / alpha**2
    is_light = light.detach() > 0
    # The root's slope at zero is infinite, and times zero no number.
    return torch.where(is_light, 2 * torch.where(is_light, light, 1).sqrt(), 0)


def _usable(noisy: Tensor, v1: Tensor, v2: Tensor, alpha: Tensor) -> Tensor:
    """Images with finite pixels and possible numbers, (B,)."""
    pixels = noisy.detach().isfinite().flatten(1).all(1)
    variances = [(v.detach() >= 0) & v.detach().isfinite() for v in (v1, v2)]
    gain = (alpha.detach() >= _LEAST_GAIN) & alpha.detach().isfinite()
    return pixels & variances[0] & variances[1] & gain


def _known(level: Tensor) -> Tensor:
    """Noise levels (B, C), and one in all channels of an image where one is not known.

    So the channels of an image are compared only where all are known.
    """
    return torch.where(level.isnan().any(1, keepdim=True), 1, level)


def _corners(images: Tensor) -> list[Tensor]:
    """The four corners, 3/4 as high and wide: top left, top right, bottom two."""
    height, width = (3 * size // 4 for size in images.shape[-2:])
    rows = slice(None, height), slice(images.shape[-2] - height, None)
    columns = slice(None, width), slice(images.shape[-1] - width, None)
    return [images[..., row, column] for row in rows for column in columns]
