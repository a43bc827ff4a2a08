r"""Noise levels that a sampler goes through, from pure noise to data.

.. math:: x_i = \alpha_i x_0 + \sigma_i \varepsilon

Places count steps: 0 is the noise that a sampler starts from, `T` the sample.
Diffusion has :math:`\alpha_i = \sqrt{\bar\alpha_i}` and :math:`\sigma_i =
\sqrt{1 - \bar\alpha_i}` (Ho et al., 2006.11239), a flow :math:`\alpha_i = 1 -
t_i` and :math:`\sigma_i = t_i` (Lipman et al., 2210.02747).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Level(NamedTuple):
  """One noise level."""

  alpha: Float[Array, '']
  sigma: Float[Array, '']
  time: Float[Array, '']  # what a network is told: 1 is noise, 0 data


class Schedule(NamedTuple):
  """The `T + 1` levels of `T` steps; the last is data itself."""

  alphas: Float[Array, ' T+1']
  sigmas: Float[Array, ' T+1']
  times: Float[Array, ' T+1']

  @property
  def num_steps(self) -> int:
    """`T`."""
    return self.alphas.shape[0] - 1

  def level(self, place: int | Int[Array, '']) -> Level:
    """The level at a place, which may be traced."""
    return Level(*(values[place] for values in self))


def cosine(num_steps: int, *, least: float = 1e-5) -> Schedule:
  r""":math:`\bar\alpha(t) = \cos^2(\frac{t + s}{1 + s} \frac\pi 2)`, scaled.

  Nichol and Dhariwal, 2102.09672, with their `s = .008`.

  Args:
    num_steps: `T`; static.
    least: of the first alpha-bar, which would be 0.

  Returns:
    A schedule whose times are even.
  """
  times = _times(num_steps)
  return from_alpha_bars(1 - (1 - least) * (1 - cosine_alpha_bar(times)), times)


def cosine_alpha_bar(times):
  """Alpha-bar of the cosine law at any times in 0..1, known or traced."""
  xp = jnp if isinstance(times, jax.Array) else np
  law = lambda t: xp.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
  return law(times) / np.cos(0.008 / 1.008 * np.pi / 2) ** 2


def linear(num_steps: int) -> Schedule:
  r"""The limit of many steps whose :math:`\beta` grows evenly.

  :math:`\log\bar\alpha(t) = -.1 t - 9.95 t^2`, as of the thousand steps from
  1e-4 to .02 of Ho et al., 2006.11239.

  Args:
    num_steps: `T`; static.

  Returns:
    A schedule whose times are even.
  """
  times = _times(num_steps)
  return from_alpha_bars(np.exp(-0.1 * times - 9.95 * times**2), times)


def flow_times(num_steps: int, *, shift: float = 1.0) -> Schedule:
  """Levels of a flow, even in time, or denser near noise.

  Args:
    num_steps: `T`; static.
    shift: `t -> shift t / (1 + (shift - 1) t)`; above 1 more of the steps are
      near noise (Esser et al., 2403.03206).

  Returns:
    A schedule.

  Raises:
    ValueError: for a shift that is not positive.
  """
  if not shift > 0:
    raise ValueError(f'shift={shift} must be above 0')
  times = _times(num_steps)
  times = shift * times / (1 + (shift - 1) * times)
  return Schedule(*(_float(x) for x in (1 - times, times, times)))


def from_alpha_bars(alpha_bars, times=None) -> Schedule:
  """A schedule of diffusion from given alpha-bars, noise first.

  Args:
    alpha_bars: `[T + 1]` known numbers, growing, the last 1.
    times: `[T + 1]` of the network; even from 1 to 0 if None.

  Returns:
    A schedule.

  Raises:
    ValueError: if they do not grow from above 0, or do not end at 1: then the
      last step would leave noise in the sample.
  """
  values = np.asarray(alpha_bars, np.float64)
  if values.ndim != 1 or len(values) < 2:
    raise ValueError(f'alpha-bars have shape {values.shape}, expected [T + 1]')
  if not abs(values[-1] - 1) < 1e-6:
    raise ValueError(f'alpha-bar ends at {values[-1]:g}, it must end at 1')
  if not (values[0] > 0 and np.all(np.diff(values) > 0)):
    raise ValueError('alpha-bar must be above 0 and grow with every step')
  times = _times(len(values) - 1) if times is None else times
  return Schedule(
    *(_float(x) for x in (np.sqrt(values), np.sqrt(1 - values), times))
  )


def evosearch_points(num_steps: int, points: Sequence[int]) -> tuple[int, ...]:
  """Places at which generations of EvoSearch begin, checked.

  Args:
    num_steps: `T`.
    points: 0 first; (0, 20, 30, 40) of 50 in the paper.

  Returns:
    The points.

  Raises:
    ValueError: if they do not grow from 0 to below `T`.
  """
  points = tuple(points)
  later = (*points[1:], num_steps)
  grows = all(a < b for a, b in zip(points, later, strict=False))
  if not points or points[0] != 0 or not grows:
    raise ValueError(
      f'points={points} must start at 0 and grow, below the {num_steps} steps'
    )
  return points


def _times(num_steps: int) -> np.ndarray:
  if num_steps < 1:
    raise ValueError(f'num_steps={num_steps} must be at least 1')
  return np.linspace(1.0, 0.0, num_steps + 1)


def _float(values) -> Float[Array, ' n']:
  return jnp.asarray(values, jnp.float32)
