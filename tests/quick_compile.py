"""Programs that a test runs once or only measures: compiled without the costly optimisations."""

from typing import Any

import jax

OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def compiled(function, *arguments: Any) -> jax.stages.Compiled:
    """The program of `function` for arguments of these shapes."""
    return jax.jit(function).lower(*arguments).compile(compiler_options=OPTIONS)
