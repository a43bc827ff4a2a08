"""TTI's growing horizon in a shop of pages (2506.07976)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc.claims.claim import Claim, across_seeds, every, text
from ttc.testbeds import acting_agents as agents
from ttc.testbeds.web_agents import LONGEST, SITE

ITERATIONS = 60
# Of the released scripts, at our size: one, two, then the longest.
GROWING = (4, 8, 8, *(16,) * (ITERATIONS - 3))
ARMS = {
  'short': ((4,) * ITERATIONS, 0),
  'long': ((16,) * ITERATIONS, 0),
  'growing': (GROWING, 0),
  'slow': ((4,) * 10 + (8,) * 10 + (16,) * (ITERATIONS - 20), 0),
  'short, 8 thoughts': ((4,) * ITERATIONS, 8),
  'short, 32 thoughts': ((4,) * ITERATIONS, 32),
}
EXPLORER = (0.375, 0.4583, 0.5, 0.625, 0.7083, 0.8333, 1.0)
WITHIN = (3, 5, 7, 8, 10, 12, 14)


def measure(seed, size, cache):
  """Success at the longest horizon, by arm and iteration."""
  del cache
  base_key, arm_key, script_key, test_key = jax.random.split(
    jax.random.key(500 + seed), 4
  )
  params = agents.clone_scripts(SITE, base_key, size.steps(4000))
  base = jax.jit(agents.roll_out, static_argnums=(0, 3, 4))(
    SITE, params, test_key, size.problems(2000), LONGEST
  )
  found: dict[str, Any] = {'base': jnp.mean(base.rewards)}
  for name, (horizons, num_thoughts) in ARMS.items():
    _, curve = agents.tti(
      SITE,
      params,
      arm_key,
      jnp.array(horizons[: size.steps(ITERATIONS)], jnp.int32),
      num_thoughts=num_thoughts,
    )
    last = curve.success[-10:]
    found[name] = {
      'success': jnp.mean(last),
      'first': curve.successful_steps[0],
      'peak': jnp.max(curve.successful_steps),
      'steps': curve.env_steps[-1],
      'tokens': curve.tokens[-1],
    }
  script = jax.jit(agents.demonstrations, static_argnums=(0, 2, 3, 4))(
    SITE, script_key, size.problems(4000), 1.0, 0.0
  )
  within = [
    jnp.mean((script.rewards > 0) & (script.lengths <= h)) for h in WITHIN
  ]
  return found | {'explorer': jnp.stack(within)[None]}


def told(data):
  """Success and steps of each arm."""
  parts = [f'base {across_seeds(data["base"], data["num_seeds"])}']
  for name in ARMS:
    arm = data[name]
    parts.append(
      f'{name} {across_seeds(arm["success"], data["num_seeds"])} '
      f'({arm["steps"].mean() / 1000:.0f}k steps, '
      f'{arm["tokens"].mean() / 1000:.0f}k tokens)'
    )
  return 'success at 16 steps: ' + '; '.join(parts)


CLAIM = Claim(
  'TTI: filtered cloning in a shop of 7 kinds of pages, 60 iterations of 256',
  '2506.07976',
  'a horizon that grows from 4 to 16 succeeds 10 points more often than 4 '
  'alone, not 2 less than 16 alone, with fewer steps of the environment, in '
  'every seed',
  measure,
  checks=[
    text(told),
    every(
      'growing is above short by 10, not 2 below long, with fewer steps',
      lambda d: [
        d['growing']['success'] > d['short']['success'] + 0.1,
        d['growing']['success'] > d['long']['success'] - 0.02,
        d['growing']['steps'] < d['long']['steps'],
      ],
    ),
  ],
  controls=[
    text(
      lambda d: (
        'the scripted explorer by 3, 5, 7, 8, 10, 12, 14 steps: '
        + ', '.join(f'{100 * x:.1f}' for x in d['explorer'].mean(axis=0))
      ),
      lambda d: np.all(
        np.abs(d['explorer'].mean(axis=0) - EXPLORER)
        < 4 * 0.5 / np.sqrt(4000 * d['num_seeds'])
      ),
    ),
    text(
      lambda d: (
        'a horizon that grows too slowly ends '
        f'{100 * np.mean(d["slow"]["success"] - d["growing"]["success"]):+.1f} '
        'points from growing: by then nobody explores'
      )
    ),
    text(
      lambda d: (
        'steps of successes while it grows, first and most: '
        f'{d["growing"]["first"].mean():.1f}, {d["growing"]["peak"].mean():.1f}'
      )
    ),
  ],
)
