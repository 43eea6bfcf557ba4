"""The avatar's hot paths in plain PyTorch, as one writes them first: what benchmarks compare with.
"""

from __future__ import annotations

import torch
from torch import nn

PRIMES = (1, 2_654_435_761, 805_459_861)
CORNERS = [[(k >> axis) & 1 for axis in range(3)] for k in range(8)]


def hash_features(table: torch.Tensor, x: torch.Tensor, levels) -> torch.Tensor:
    """(n, L F) features of points (n, 3); table (entries, F) of all levels in one."""
    corners, features = torch.tensor(CORNERS), []
    for level in levels:
        place = x * level.scale + 0.5
        low = torch.floor(place)
        share = (place - low)[:, None]
        cell = low.long()[:, None] + corners
        if level.dense:
            index = (cell * torch.tensor([1, level.stride, level.stride**2])).sum(-1)
        else:
            mixed = (cell * torch.tensor(PRIMES)) & 0xFFFFFFFF
            index = mixed[..., 0] ^ mixed[..., 1] ^ mixed[..., 2]
        rows = table[level.offset + index % level.size]
        weight = torch.where(corners == 1, share, 1 - share).prod(-1)
        features.append((rows * weight[..., None]).sum(1))
    return torch.cat(features, -1)


def harmonics(d: torch.Tensor) -> torch.Tensor:
    """(n, 16) real spherical harmonics up to degree 3 of unit directions (n, 3)."""
    x, y, z = d.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack([
        torch.full_like(x, 0.28209479177387814),
        -0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
        0.94617469575755997 * zz - 0.31539156525251999, -1.0925484305920792 * x * z,
        0.54627421529603959 * (xx - yy), 0.59004358992664352 * y * (-3 * xx + yy),
        2.8906114426405538 * x * y * z, 0.45704579946446572 * y * (1 - 5 * zz),
        0.3731763325901154 * z * (5 * zz - 3), 0.45704579946446572 * x * (1 - 5 * zz),
        1.4453057213202769 * z * (xx - yy), 0.59004358992664352 * x * (-xx + 3 * yy),
    ], -1)  # fmt: skip


class Net(nn.Module):
    """Linear layers without biases, relu between them."""

    def __init__(self, kernels):
        super().__init__()
        self.kernels = nn.ParameterList(nn.Parameter(torch.tensor(k)) for k in kernels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, kernel in enumerate(self.kernels):
            x = x @ kernel
            x = x if i == len(self.kernels) - 1 else torch.relu(x)
        return x


class HeadField(nn.Module):
    """Hash grid, density net and colour net."""

    def __init__(self, table, density, color, levels):
        super().__init__()
        self.table, self.levels = nn.Parameter(torch.tensor(table)), levels
        self.density, self.color = Net(density), Net(color)

    def networks(self, features, directions, condition):
        """Colours (n, 3) and densities (n,)."""
        out = self.density(torch.cat([features, condition], -1))
        color = self.color(torch.cat([harmonics(directions), out[:, 1:]], -1))
        return torch.sigmoid(color), torch.exp(out[:, 0])

    def forward(self, points, directions, condition):
        return self.networks(hash_features(self.table, points, self.levels), directions, condition)


def rendered(color, sigma, delta, background):
    """Colours (r, 3) of rays with samples (r, s)."""
    alpha = 1 - torch.exp(-sigma * delta)
    ones = torch.ones_like(alpha[:, :1])
    passed = torch.cumprod(torch.cat([ones, 1 - alpha], -1), -1)
    weights = alpha * passed[:, :-1]
    return (weights[..., None] * color).sum(-2) + passed[:, -1:] * background


def nearest(points, a, b, c):
    """(n,) the nearest of triangles with corners (f, 3), by looking at all of them."""
    found = []
    for some in points.split(256):
        p = some[:, None]
        ab, ac, ap = b - a, c - a, p - a
        d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
        bp, cp = p - b, p - c
        d3, d4 = (ab * bp).sum(-1), (ac * bp).sum(-1)
        d5, d6 = (ab * cp).sum(-1), (ac * cp).sum(-1)
        va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
        total = va + vb + vc
        v, w = vb / total, vc / total
        inside = (v >= 0) & (w >= 0) & (v + w <= 1)
        flat = (ap - v[..., None] * ab - w[..., None] * ac).square().sum(-1)

        def edge(start, along, where):
            share = ((where * along).sum(-1) / (along * along).sum(-1)).clamp(0, 1)
            return (where - share[..., None] * along).square().sum(-1)

        edges = torch.minimum(edge(a, ab, ap), edge(a, ac, ap))
        edges = torch.minimum(edges, edge(b, c - b, bp))
        found.append(torch.where(inside, flat, edges).argmin(-1))
    return torch.cat(found)


def mapped(points, index, hoods, centroids, transforms, beta: float):
    """(n, 3) points under the distance-weighted maps (f, 3, 4) of a triangle and its neighbours."""
    hood = hoods[index]
    distance = (centroids[hood.clamp(min=0)] - points[:, None]).norm(dim=-1)
    weight = torch.where(hood >= 0, torch.exp(-beta * distance), 0.0)
    weight = weight / weight.sum(-1, keepdim=True)
    each = transforms[hood.clamp(min=0)]
    turned = torch.einsum("nkij,nj->nki", each[..., :3], points) + each[..., 3]
    return (weight[..., None] * turned).sum(1)
