"""C3PO on routers that lose their way (2504.07964).

The fourth set-up; three before it did not hold. With a rate of .3, descent was
+0.4 [-0.9, 1.8] above regression at noise 8 (seeds 0-2); +5.1 [3.1, 7.1] at 16,
where random neighbours helped by 4 to 7 points (0-2); and +0.6 [-1.0, 2.1] at
11 (3-5). The rate of 1 was chosen on seeds 0-2; seeds 6-8 were new. That random
neighbours must not help was an ask until the third; now it is a figure, as one
of five is of the right table with chance .6, and neighbours of other tables are
the ask.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ttc import experts
from ttc.claims.claim import (
  Claim,
  above,
  at,
  compares,
  estimate,
  low,
  shows,
  text,
)
from ttc.testbeds import disturbed_routers as bed

NEIGHBOURS, STEPS, ALPHAS = 5, 10, 5
SURROGATES = {
  'mode finding': experts.by_mode_finding(),
  'kernel regression': experts.by_kernel_regression(),
  'gradient descent': experts.by_gradient_descent(
    optax.sgd(optax.cosine_decay_schedule(1.0, STEPS)),
    STEPS,
    experts.simplex_space,
  ),
}
VOTES = (1, 16, 256, 2048)


def measure(seed, size, cache):
  """Right or wrong by method, of questions that are no references."""
  found = bed.disturbed(seed, size, cache)
  order = jax.random.permutation(jax.random.key(seed), bed.NUM_QUESTIONS)
  half = bed.NUM_QUESTIONS // 2
  solved = np.asarray(order[:half])[np.asarray(found.is_right[order[:half]])]
  solved = jnp.asarray(solved)
  ids = order[half : half + size.problems(half)]
  mixture, references = found.mixture, found.references(solved)
  random = jax.random.normal(jax.random.key(seed + 1), found.embeddings.shape)
  right = {'base': found.is_right[ids]}
  right['oracle'] = bed.right_under(found, ids, found.undisturbed[ids])

  def run(surrogate, embeddings, learner=mixture.learner, is_same=None):
    near = references._replace(embeddings=embeddings[solved])
    width = experts.typical_distance(near.embeddings, NEIGHBOURS)
    rerouted = jax.jit(
      lambda embeddings, pathways, near, width: experts.reroute(
        learner, mixture.params, surrogate, embeddings, pathways, near,
        experts.gaussian_kernel(width), num_neighbours=NEIGHBOURS,
        num_layers=bed.DISTURBED, num_core=8, is_same=is_same,
      )
    )(embeddings[ids], found.pathways[ids], near, width)  # fmt: skip
    return rerouted.pathways

  pathways = {x: run(make, found.embeddings) for x, make in SURROGATES.items()}
  pathways |= {f'{x}, random': run(y, random) for x, y in SURROGATES.items()}
  of_table = found.tasks[ids][:, None] == found.tasks[solved]
  for name, surrogate in SURROGATES.items():
    pathways[f'{name}, other tables'] = run(
      surrogate, found.embeddings, is_same=of_table
    )
  for name, new in pathways.items():
    right[name] = bed.right_under(found, ids, new)
  right['last token only'] = bed.right_under(
    found, ids, pathways['gradient descent'], True
  )
  hard = run(SURROGATES['gradient descent'], found.embeddings, mixture.model)
  right['chosen experts only'] = bed.right_under(found, ids, hard)
  for n in VOTES:
    key = jax.random.key(seed + 2)
    right[f'vote {n}'] = bed.vote_right(found, ids, key, n)
  floats = {name: x.astype(jnp.float32) for name, x in right.items()}
  return {'right': floats, 'references': float(len(solved))}


def kflops():
  """Thousands of FLOPs of a question by method."""
  token, dense = bed.flops_per_token(), bed.flops_per_token(True)
  prompt, text_length = bed.PROMPT, bed.PROMPT + bed.RESPONSE - 1
  base = text_length * token
  tries = NEIGHBOURS * text_length
  cost = {
    'base': base,
    'mode finding': base + prompt * token,
    'kernel regression': base + prompt * token + ALPHAS * tries * dense,
    'gradient descent': base + prompt * token + 3 * STEPS * tries * dense,
  }
  cost |= {f'vote {n}': (prompt + n) * token for n in VOTES}
  return {name: x / 1000 for name, x in cost.items()}


def shares(data):
  """Accuracy beside cost."""
  parts = [
    f'{name} {100 * np.mean(at(data, f"right/{name}")):.1f} at {cost:.0f}'
    for name, cost in sorted(kflops().items(), key=lambda x: x[1])
  ]
  own = bed.flops_per_token() * (bed.PROMPT + bed.RESPONSE - 1) / 1000
  return (
    f'accuracy and kFLOP of a question: {", ".join(parts)}; reading a '
    f'reference once costs {own:.0f}'
  )


def twice(data):
  """Twice what descent gains, less the gap to the oracle, by question."""
  base, ngd, oracle = (
    at(data, f'right/{name}') for name in ('base', 'gradient descent', 'oracle')
  )
  return 2 * (ngd - base) - (oracle - base)


CLAIM = Claim(
  'C3PO on a small mixture whose last router is disturbed',
  '2504.07964',
  'the right routes are worth 10 points and more; gradient descent on '
  'neighbours is above kernel regression, that above mode finding, that above '
  'the model; descent recovers half of what the right routes are worth; '
  'neighbours from other tables do not help',
  measure,
  checks=[
    shows('base ', 'right/base'),
    above('oracle ', 'right/oracle', 'right/base', by=0.10),
    above('mode finding over base ', 'right/mode finding', 'right/base'),
    above(
      'kernel regression over mode finding ',
      'right/kernel regression',
      'right/mode finding',
    ),
    above(
      'gradient descent over kernel regression ',
      'right/gradient descent',
      'right/kernel regression',
    ),
    text(
      lambda d: (
        'twice its gain less the gap to the oracle '
        f'{100 * estimate(twice(d)).mean:+.1f}'
      ),
      lambda d: low(estimate(twice(d))) > 0,
    ),
    text(shares),
  ],
  controls=[
    # Of five at random one or more is of the same table with chance .6.
    *(
      compares(
        f'{name} of random neighbours over base ',
        f'right/{name}, random',
        'right/base',
      )
      for name in SURROGATES
    ),
    *(
      compares(
        f'{name} of neighbours from other tables over base ',
        f'right/{name}, other tables',
        'right/base',
        lambda gap: low(gap) <= 0,
      )
      for name in SURROGATES
    ),
    compares(
      'descent at the last prompt token only, to base ',
      'right/last token only',
      'right/base',
    ),
    compares(
      'descent that sees chosen experts only, to base ',
      'right/chosen experts only',
      'right/base',
    ),
  ],
  seeds=(6, 7, 8),  # rate and noise were chosen on others
)
