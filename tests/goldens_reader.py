"""Reads goldens: what a published system's code returned, with weights regenerated from names.

A golden is one `.npz` with a JSON `manifest`, inputs `in/*` and outputs `out/*`. The weights are
not stored: a name, a shape and a salt determine them, so a file stays small. Tests ask for goldens
by what the manifest says (system, module), never by file name, and take every size and option from
the file.

Use in a test, with the `goldens` fixture:

    for golden in known_goldens(goldens, module="spherical harmonics"):
        actual = sh(golden.inputs["directions"], degree=golden.config["degree"])
        golden.compare("sh", actual)
"""

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Golden:
    """One golden.

    Attributes:
        name: file name without its suffix, for messages only.
        manifest: system, module, source, salt, config, notes, and `keys` (weight name -> shape).
        weights: state dict under the published names, regenerated and adjusted as the config asks.
        inputs: arrays by name.
        outputs: arrays by name.
    """

    name: str
    manifest: dict[str, Any]
    weights: dict[str, np.ndarray]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    @property
    def config(self) -> dict[str, Any]:
        """The options with which the original was built."""
        return self.manifest["config"]

    @property
    def system(self) -> str:
        return self.manifest["system"]

    @property
    def module(self) -> str:
        return self.manifest["module"]

    def compare(self, output: str, actual, *, tolerance: float = 1e-4) -> None:
        """Fails unless `actual` equals an output within tolerance x its largest magnitude."""
        compare(f"{self.name}:{output}", actual, self.outputs[output], tolerance=tolerance)


def compare(name: str, actual, expected, *, tolerance: float = 1e-4) -> None:
    """Fails unless both arrays have one shape and differ by at most tolerance x max|expected|."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape} != {expected.shape}"
    if not expected.size:
        return
    assert np.all(np.isfinite(actual)), f"{name}: not finite"
    error = float(np.max(np.abs(actual.astype(np.float64) - expected)))
    largest = float(np.max(np.abs(expected)))
    bound = tolerance * (largest if largest > 0 else 1.0)
    assert error <= bound, f"{name}: largest error {error:.3g} > {tolerance:g} x {largest:.4g}"


def load_golden(path) -> Golden:
    """Reads one file; see `Golden`."""
    path = pathlib.Path(path)
    with np.load(path, allow_pickle=False) as file:
        manifest = json.loads(str(file["manifest"]))
        inputs = {k[3:]: file[k] for k in file.files if k.startswith("in/")}
        outputs = {k[4:]: file[k] for k in file.files if k.startswith("out/")}
    weights = _weights(manifest)
    replaced = [key for key in inputs if key.startswith("state:")]
    for key in replaced:
        weights[key.removeprefix("state:")] = inputs.pop(key)
    return Golden(path.stem, manifest, weights, inputs, outputs)


def load_goldens(folder, *, system: str = "", module: str = "", **config: Any) -> list[Golden]:
    """Returns the goldens of a folder whose manifest fits, in the order of their names.

    Args:
        folder: folder with `.npz` files.
        system: text that the manifest's system must contain, ignoring case.
        module: likewise for the module.
        **config: options that the manifest's config must hold with these values.
    """

    def fits(manifest: Mapping[str, Any]) -> bool:
        return (
            system.lower() in manifest["system"].lower()
            and module.lower() in manifest["module"].lower()
            and all(manifest["config"].get(name) == value for name, value in config.items())
        )

    return [load_golden(path) for path, manifest in _manifests(folder) if fits(manifest)]


def known_goldens(folder, *, system: str = "", module: str = "", **config: Any) -> list[Golden]:
    """Like `load_goldens`, but says which and how many are compared; none is a failure."""
    found = load_goldens(folder, system=system, module=module, **config)
    wanted = ", ".join(
        f"{name} {value!r}"
        for name, value in {"system": system, "module": module, **config}.items()
        if value
    )
    print(f"{len(found)} goldens compared of {wanted}: {', '.join(g.name for g in found)}")
    assert found, f"no golden of {wanted} in {folder}"
    return found


def fill(name: str, shape, salt: str) -> np.ndarray:
    """Returns the stand-in value of a weight (float32; int64 zeros for BatchNorm's batch counter).

    The random stream depends on salt and name only. Matrices and kernels have unit gain (divided by
    the root of their fan-in), scales are near one, biases small, variances positive.
    """
    shape = tuple(int(n) for n in shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    seed = zlib.crc32(f"{salt}/{name}".encode())
    # RandomState is frozen across NumPy versions, which default_rng is not.
    noise = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return 0.5 + 0.5 * np.abs(noise)
    if name.endswith("running_mean"):
        return 0.1 * noise
    if name.endswith("weight_g"):
        return 0.5 + np.abs(noise)
    if len(shape) >= 2:
        return noise / _root_fan_in(shape)
    if name.endswith("weight"):
        return 1.0 + 0.1 * noise
    return np.asarray(0.1 * noise, np.float32)


def _root_fan_in(shape: tuple[int, ...]) -> np.float32:
    return np.sqrt(np.float32(np.prod(shape[1:])))


def _weights(manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the filled state dict after the config's scale, shift and weight_scale."""
    config, salt = manifest["config"], manifest["salt"]
    weights = {name: fill(name, shape, salt) for name, shape in manifest["keys"].items()}
    scale, shift = config.get("scale"), config.get("shift")
    if isinstance(scale, Mapping):
        for name, factor in scale.items():
            weights[name] = weights[name] * np.float32(factor)
    if isinstance(shift, Mapping):
        for name, offset in shift.items():
            weights[name] = weights[name] + np.float32(offset)
    if config.get("weight_scale") == "sqrt_fan_in":
        for name, value in weights.items():
            if value.ndim >= 2:
                gain = _root_fan_in(value.shape)
                # The mapping network learns at 1/100 of the rate: its weights are 100 x larger.
                if name.startswith("mapping.fc") and name.endswith("weight"):
                    gain = gain * np.float32(100.0)
                weights[name] = value * gain
    return weights


def _manifests(folder) -> Iterator[tuple[pathlib.Path, dict[str, Any]]]:
    for path in sorted(pathlib.Path(folder).glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            yield path, json.loads(str(file["manifest"]))
