"""Compiled programs that outlive the process."""

import os
import pathlib

import jax


def enable_compilation_cache(
  directory: str | os.PathLike[str] | None = None,
) -> None:
  """Keeps compiled programs on disk, so that a second run starts at once.

  Args:
    directory: by default `$JAX_COMPILATION_CACHE_DIR` or `~/.cache/ttc/jax`.
  """
  chosen = directory or os.environ.get('JAX_COMPILATION_CACHE_DIR')
  path = chosen or pathlib.Path.home() / '.cache' / 'ttc' / 'jax'
  jax.config.update('jax_compilation_cache_dir', os.fspath(path))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
