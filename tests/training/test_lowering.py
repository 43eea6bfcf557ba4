"""Steps lower for a TPU on a CPU. Lowering only: no TPU compiler and no TPU takes part."""

import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import toy_recipes

from jaxhead.training.lowering import export_step


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("recipe", sorted(toy_recipes.RECIPES))
def test_every_kind_of_step_lowers_for_a_tpu(recipe, devices):
    stage = toy_recipes.RECIPES[recipe]()
    made = export_step(stage, devices=jax.local_devices()[:devices])
    assert set(made) == ({"step"} if recipe == "everything" else {"step", "validate"})
    for program in made.values():
        assert program.platforms == ("tpu",) and program.nr_devices == devices
    # A collective on one device would only cost time.
    assert ("all_reduce" in made["step"].mlir_module()) == (devices > 1)


def test_an_operation_that_a_tpu_lacks_is_found():
    stage = toy_recipes.fit()
    update = stage.system.updates[0]

    def loss(variables, outputs, batch, key, step):
        eigenvalues = jnp.linalg.eig(batch["points"]["x"][:8])[0]
        value, rest = update.loss(variables, outputs, batch, key, step)
        return value + 0 * jnp.abs(jax.lax.stop_gradient(eigenvalues)).sum(), rest

    system = dataclasses.replace(
        stage.system, updates=(dataclasses.replace(update, loss=loss),), validate=None
    )
    with pytest.raises(NotImplementedError, match="tpu"):
        export_step(dataclasses.replace(stage, system=system), devices=jax.local_devices()[:1])
