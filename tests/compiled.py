"""Functions of the library as one program each, as users run them.

Called as they are, each of their operations is compiled for itself, for each
shape: most of the time of tests that call many small functions.
"""

import functools
import inspect
import types

import jax
import numpy as np


def compiled(function):
  """The function in `jax.jit`; what is no array in its arguments is static."""

  @functools.lru_cache
  def program(tree, fixed):
    def run(arrays):
      arrays = iter(arrays)
      leaves = [next(arrays) if kind is None else x for kind, x in fixed]
      args, kwargs = jax.tree.unflatten(tree, leaves)
      return function(*args, **kwargs)

    return jax.jit(run)

  @functools.wraps(function)
  def call(*args, **kwargs):
    leaves, tree = jax.tree.flatten((args, kwargs))
    is_array = [isinstance(x, jax.Array | np.ndarray) for x in leaves]
    fixed = tuple(  # with its type, since 1 == 1.0 == True
      (None, None) if a else (type(x), x)
      for a, x in zip(is_array, leaves, strict=True)
    )
    arrays = [x for a, x in zip(is_array, leaves, strict=True) if a]
    return program(tree, fixed)(arrays)

  return call


def compiled_module(module):
  """A module whose functions are `compiled`; all else is as it was."""
  names = {
    name: compiled(value) if inspect.isfunction(value) else value
    for name, value in vars(module).items()
  }
  return types.SimpleNamespace(**names)
