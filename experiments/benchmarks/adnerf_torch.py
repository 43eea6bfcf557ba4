"""AD-NeRF's field and rendering in plain PyTorch: what the benchmark compares with."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

NETCHUNK = 65536


def encoded(x: torch.Tensor, bands: int) -> torch.Tensor:
    """x, then sines and cosines at doubling frequencies."""
    parts = [x]
    for band in range(bands):
        parts += [torch.sin(2.0**band * x), torch.cos(2.0**band * x)]
    return torch.cat(parts, -1)


class Field(nn.Module):
    """[point | code | direction] -> colour logits and density."""

    def __init__(self, code: int, *, width: int = 256, depth: int = 8, skip: int = 4):
        super().__init__()
        given, half = 63 + code, width // 2
        sizes = [given] + [width + given * (i == skip + 1) for i in range(1, depth)]
        self.skip = skip
        self.pts_linears = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.views_linears = nn.ModuleList(
            nn.Linear(half if i else width + 27, half) for i in range(depth // 4 + 1)
        )
        self.feature_linear = nn.Linear(width, width)
        self.alpha_linear = nn.Linear(width, 1)
        self.rgb_linear = nn.Linear(half, 3)

    def forward(self, given: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        x = given
        for i, layer in enumerate(self.pts_linears):
            x = functional.relu(layer(x))
            if i == self.skip:
                x = torch.cat([given, x], -1)
        sigma, x = self.alpha_linear(x), torch.cat([x, views], -1)
        for layer in self.views_linears:
            x = functional.relu(layer(x))
        return torch.cat([self.rgb_linear(x), sigma], -1)


def _query(field, points, views, code):
    flat = encoded(points.reshape(-1, 3), 10)
    flat = torch.cat([flat, code.expand(len(flat), -1)], -1)
    along = encoded(views[:, None].expand(points.shape).reshape(-1, 3), 4)
    parts = [
        field(flat[i : i + NETCHUNK], along[i : i + NETCHUNK])
        for i in range(0, len(flat), NETCHUNK)
    ]
    return torch.cat(parts).reshape(*points.shape[:-1], 4)


def _outputs(raw, depths, directions, behind):
    last = torch.full_like(depths[:, :1], 1e10)
    steps = torch.cat([depths[:, 1:] - depths[:, :-1], last], -1)
    steps = steps * directions.norm(dim=-1, keepdim=True)
    rgb = torch.cat([torch.sigmoid(raw[:, :-1, :3]), behind[:, None]], 1)
    alpha = 1 - torch.exp(-(functional.relu(raw[..., 3]) + 1e-6) * steps)
    ones = torch.ones_like(alpha[:, :1])
    passed = torch.cumprod(torch.cat([ones, 1 - alpha + 1e-10], -1), -1)[:, :-1]
    weights = alpha * passed
    return (weights[..., None] * rgb).sum(-2), weights


def _inverse_cdf(bins, weights, u):
    weights = weights + 1e-5
    cdf = torch.cumsum(weights / weights.sum(-1, keepdim=True), -1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], -1)
    above = torch.searchsorted(cdf, u.contiguous(), right=True)
    below = (above - 1).clamp(min=0)
    above = above.clamp(max=cdf.shape[-1] - 1)
    low, high = cdf.gather(1, below), cdf.gather(1, above)
    step = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    first = bins.gather(1, below)
    return first + (u - low) / step * (bins.gather(1, above) - first)


def render(fields, rays, behind, code, bounds, *, coarse: int, fine: int, jitter: bool):
    """Colours (R, 3) of the coarse and of the fine pass.

    Args:
        fields: two `Field`s; rays: origins and directions (R, 3); behind: (R, 3); code: (C,).
        bounds: near and far; coarse, fine: samples; jitter: random places.
    """
    origins, directions = rays
    views = directions / directions.norm(dim=-1, keepdim=True)
    share = torch.linspace(0, 1, coarse)
    depths = (bounds[0] * (1 - share) + bounds[1] * share).expand(len(origins), coarse)
    if jitter:
        middle = 0.5 * (depths[:, 1:] + depths[:, :-1])
        low = torch.cat([depths[:, :1], middle], -1)
        high = torch.cat([middle, depths[:, -1:]], -1)
        inside = torch.rand_like(depths)
        inside[:, -1] = 1
        depths = low + (high - low) * inside
    points = origins[:, None] + directions[:, None] * depths[..., None]
    first, weights = _outputs(_query(fields[0], points, views, code), depths, directions, behind)
    middle = 0.5 * (depths[:, 1:] + depths[:, :-1])
    u = torch.rand(len(origins), fine) if jitter else torch.linspace(0, 1, fine).expand(
        len(origins), fine
    )
    found = _inverse_cdf(middle, weights[:, 1:-1].detach(), u)
    depths = torch.sort(torch.cat([depths, found], -1), -1)[0].detach()
    points = origins[:, None] + directions[:, None] * depths[..., None]
    second, _ = _outputs(_query(fields[1], points, views, code), depths, directions, behind)
    return first, second
