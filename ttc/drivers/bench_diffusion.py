"""Speed of sampling beside diffusers, with the weights of one network."""

import statistics

import jax
import numpy as np

from ttc import diffusion
from ttc.diffusion import samplers
from ttc.drivers import timing
from ttc.drivers.diffusion_peer import peer_sampler
from ttc.evaluation.tables import markdown_table
from ttc.testbeds import trained_denoisers

LABEL = 7


def bench_diffusion(
  name: str,
  sizes: tuple[int, ...],
  num_steps: int,
  repetitions: int,
  threads: int = 0,
) -> str:
  """Times both in turns.

  Args:
    name: of a model, a U-Net that answers with velocities.
    sizes: images drawn side by side.
    num_steps: `T`.
    repetitions: timed runs of each.
    threads: of torch; 0 for as many as it takes. Where other processes run,
      one is faster than one for each core: they wait for each other.

  Returns:
    A Markdown table: thousands of images denoised by a step each second.

  Raises:
    ValueError: for another model; if the two networks do not agree.
    ImportError: naming the extra, without torch or diffusers.
  """
  model = trained_denoisers.load_model(name)
  if type(model.network).__name__ != 'UNet' or model.target != 'velocity':
    raise ValueError(f'--model={name} is no U-Net that answers with velocities')
  rows = []
  for size in sizes:
    theirs, predict = peer_sampler(model, size, num_steps, LABEL, threads)
    _check(model, predict)
    seconds = timing.interleaved(
      {'ttc': _ours(model, size, num_steps), 'diffusers': theirs}, repetitions
    )
    calls = size * num_steps / 1000
    speeds = {x: [calls / s for s in taken] for x, taken in seconds.items()}
    ratio = statistics.median(
      a / b for a, b in zip(seconds['diffusers'], seconds['ttc'], strict=True)
    )
    rows.append(
      [
        str(size),
        *(timing.spread(speeds[x], '.2f') for x in ('ttc', 'diffusers')),
        f'{ratio:.2f}',
      ]
    )
  head = ['images', 'ttc', 'diffusers', 'ratio']
  return '\n'.join(markdown_table(head, rows, num_left=0))


def _ours(model, size, num_steps):
  """Draws as a search does, one compiled program."""

  @jax.jit
  def draw(params, key):
    sampler = diffusion.model_sampler(
      model, jax.numpy.int32(LABEL), num_steps, params=params, guidance=1.0
    )
    return samplers.draw(sampler, samplers.particle_keys(key, size))

  key = jax.random.key(0)
  return lambda: jax.block_until_ready(draw(model.params, key))


def _check(model, predict):
  """Raises ValueError unless both networks say the same."""
  x = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype(np.float32)
  labels = jax.numpy.full(2, LABEL)
  ours = model.network.apply(model.params, x, jax.numpy.full(2, 0.4), labels)
  apart = float(np.abs(np.asarray(ours) - predict(x, 0.4)).max())
  if apart > 1e-3:
    raise ValueError(f'the networks differ by {apart}')
