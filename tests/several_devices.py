"""A few steps of a stage on some of this machine's devices."""

import jax
import numpy as np

from jaxhead.training.feeding import Feeding
from jaxhead.training.state import create_state, root_key, stream
from jaxhead.training.stepping import Stepper


def trained_on(devices: int, stage, steps: int):
    """(losses [steps], state at the end, state at the start) of a stage's first steps."""
    local = jax.local_devices()[:devices]
    variables = stage.system.init(stream(root_key(0, stage.name), "init"))
    state = create_state(stage, variables)
    feeding = Feeding(stage, local, steps, 0, {})
    stepper = Stepper(
        stage, seed=0, devices=local, length=steps, state=state, frozen=variables.frozen
    )
    feeding.open()
    metrics = stepper.dispatch(feeding.arrays, feeding.rows(steps), steps, steps)
    losses, end = np.asarray(metrics["loss"])[0, :steps], stepper.host_state()
    feeding.close()
    return losses, end, state
