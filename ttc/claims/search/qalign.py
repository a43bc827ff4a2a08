"""A chain that samples against a search that over-optimises (2504.03790).

QAlign's votes tend to the mode of its law, so what they can reach is known
before any chain runs. On other problems than those reported, with an error of
Student's t, 2 degrees of freedom, the mode is right in 36% at most and
best-of-16384 in 28%, after a peak of 63%: single errors dominate the law too.
Where the reward takes 2% of the wrong responses for better than all right ones,
the mode is right in 77% (beta .5), above the peak of best-of-N, 70% at N = 16,
which falls to 3%. The second is the bed, the first a control by exact laws.
Power: with 768 problems the standard error of a difference is below 2 points.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, scaling, search
from ttc.claims.claim import (
  Claim,
  difference,
  interval,
  listed,
  signed,
  text,
  z,
)
from ttc.testbeds.enumerable import (
  END,
  LENGTH,
  NUM_ANSWERS,
  SMALL,
  exact_votes,
  make_worlds,
  rewritten,
  small_reward,
  table,
  wrong_kernels,
)
from ttc.types import Prompt

NUM_PROBLEMS = 256  # of a seed
BUDGETS = tuple(2**i for i in range(11))  # responses
BETAS = 2.0 ** np.arange(-3, 4)


def measure(seed, size, cache):
  """Laws to sampling error, then an imperfect reward at equal tokens."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  # The temperature is chosen on other problems, by exact laws.
  beta, heavy = (best_beta(error) for error in ('rare', 'heavy'))
  off, share = long_chains('posterior')
  return {
    'off': off,
    'off quest': long_chains('reward')[0],
    'share': share,
    'beta': beta,
    **compare(seed, float(beta), num),
    'heavy': dominated(seed, heavy, num),
  }


def best_beta(error):
  """Where the mode of the law is right most often, on other problems."""
  others = make_worlds(jax.random.key(99), NUM_PROBLEMS, error)
  return max(BETAS, key=lambda b: exact_votes(others, b)[0].mean())


def dominated(seed, beta, num_problems):
  """With heavy tails: best-of-N by budget, then the mode of QAlign's law."""
  worlds = make_worlds(jax.random.key(seed), num_problems, 'heavy')
  return np.stack([*best_of(worlds), exact_votes(worlds, beta)[0]])


def best_of(worlds):
  """Exact accuracy of best-of-N by budget and problem."""
  probs = jnp.exp(worlds.responses.log_probs)
  law = jax.vmap(scaling.best_of_n_law, in_axes=(None, 0, None))
  right = worlds.answers == 0
  return [
    np.asarray((law(probs, worlds.proxy, n) * right).sum(axis=1))
    for n in BUDGETS
  ]


@functools.cache
def long_chains(target, num_steps=2000):
  """TV distance of visited states to the law; tokens to those of rewriting."""
  world = models.enumerate_sequences(jnp.log(jnp.asarray(SMALL)), 3, 2, 4)
  probs = np.exp(np.asarray(world.log_probs, np.float64))
  digits = 4 ** np.arange(4)
  out = jax.jit(
    lambda key: search.qalign(
      models.table_model(4),
      jnp.log(jnp.asarray(SMALL, jnp.float32)),
      key[None],
      Prompt(jnp.full((1, 1), 3), jnp.ones((1,), jnp.int32)),
      lambda prompt, y: small_reward(y.tokens, y.lengths),
      lambda prompt, y: y.tokens @ digits,
      64,
      num_steps,
      4,
      stop=sampling.stop_rules(4, [2]),
      burn_in=20,
      target=target,
    )
  )(jax.random.key(0))
  weights = np.exp(small_reward(world.tokens, world.lengths) / 0.5)
  law = weights * (probs if target == 'posterior' else probs > 0)
  codes = world.tokens @ digits
  seen = np.array([np.mean(out.chains.answers == c) for c in codes])
  # A proposal without the cache would write the kept tokens again.
  chains = jax.device_get(out.chains)
  spent = np.diff(chains.spent, axis=-1).mean()
  return np.abs(seen - law / law.sum()).sum() / 2, spent / rewritten(law, probs)


@functools.partial(jax.jit, static_argnums=(3, 4))
def run_chains(key, proxy, answers, num_steps, beta):
  """One chain per problem; rewards and answers by the code of a response."""
  look_up = lambda table: (
    lambda prompt, y: jnp.take_along_axis(
      table, y.tokens @ 4 ** jnp.arange(LENGTH), axis=1
    )
  )
  start = jnp.zeros((answers.shape[0], 1), jnp.int32)
  return search.qalign(
    models.table_model(4),
    table(),
    jax.random.split(key, answers.shape[0]),
    Prompt(start, start[:, 0] + 1),
    look_up(proxy),
    look_up(answers),
    1,
    num_steps,
    LENGTH,
    stop=sampling.stop_rules(4, [END]),
    beta=beta,
  ).chains


def compare(seed, beta, num_problems):
  """By budget and problem, best-of-N's exact accuracy and QAlign's votes.

  Also what the votes tend to, and the chance that one state is right.
  """
  world_key, chain_key = jax.random.split(jax.random.key(seed))
  worlds = make_worlds(world_key, num_problems, 'rare')
  probs, best = jnp.exp(worlds.responses.log_probs), best_of(worlds)
  codes = worlds.responses.tokens @ 4 ** np.arange(LENGTH)
  by_code = lambda x: np.zeros((len(x), 4**LENGTH), x.dtype)
  tables = [by_code(worlds.proxy), by_code(worlds.answers)]
  tables[0][:, codes], tables[1][:, codes] = worlds.proxy, worlds.answers
  chains = jax.device_get(
    run_chains(chain_key, *tables, 3 * max(BUDGETS), beta)
  )
  spent, answers = chains.spent[:, 0], chains.answers[:, 0]
  mean_length = float(probs @ worlds.responses.lengths)
  given = np.cumsum(answers[..., None] == np.arange(NUM_ANSWERS), axis=1)
  chain = []
  for n in BUDGETS:  # the states that so many tokens have paid for
    last = np.maximum((spent <= n * mean_length).sum(axis=1) - 1, 0)
    votes = given[np.arange(len(given)), last]
    chain.append(votes.argmax(axis=1) == 0)
  assert spent[:, -1].min() > max(BUDGETS) * mean_length
  limit, single = exact_votes(worlds, beta)
  return {
    'best': np.array(best),
    'chain': np.array(chain, float),
    'limit': limit[None],
    'single': single[None],
  }


def derive(data):
  """Where best-of-N peaks, and how both go on from there."""
  best, chain, limit = data['best'], data['chain'], data['limit'][0]
  peak = int(np.argmax(best.mean(axis=1)))
  *heavy, mode = data['heavy']
  top = heavy[int(np.argmax(np.mean(heavy, axis=1)))]
  return {
    'heavy gap': difference(mode, top),
    'peak': peak,
    'falls': difference(best[-1], best[peak]),
    'rises': difference(chain[-1], chain[0]),
    'level': difference(chain[-1], chain[-3]),
    'over': difference(chain[-1], best[-1]),
    'settled': difference(chain[-1], limit),
    'over best': difference(chain[-1], best[peak]),
  }


def laws(data):
  """Of long chains."""
  return (
    'total variation of 64 chains of 2000 steps to the exact law '
    f'{data["off"][0]:.4f}, QUEST {data["off quest"][0]:.4f}, with '
    f'{100 * data["share"][0]:.0f}% of the tokens of writing each proposal anew'
  )


def figure(data):
  """Accuracy at the tokens of so many responses."""
  return (
    f'accuracy at the tokens of {", ".join(map(str, BUDGETS))} responses: '
    f'best-of-N {listed(data["best"].mean(axis=1))}, QAlign (beta '
    f'{data["beta"][0]:g}) {listed(data["chain"].mean(axis=1))}, which tends '
    f'to the mode of its law {interval(data["limit"][0])}, '
    f'{signed(data["settled"])} to that at the end; from the peak of best-of-N '
    f'to the end {signed(data["falls"])}; QAlign to one response '
    f'{signed(data["rises"])}, over its last two doublings '
    f'{signed(data["level"])}, to best-of-N at the end {signed(data["over"])}, '
    f'to its peak {signed(data["over best"])}'
  )


def levels(data):
  """Best-of-N rises and falls, QAlign rises and stays at its limit."""
  return (
    0 < data['peak'] < len(BUDGETS) - 1
    and z(data['falls']) < -3
    and z(data['rises']) > 3
    and z(data['level']) > -2
    and abs(z(data['settled'])) < 3
    and z(data['over']) > 3
    and z(data['over best']) > 3
  )


def control(data):
  """Wrong rules of acceptance, and no vote."""
  no_lengths, mean = wrong_kernels()
  return (
    f'exact kernels: without the length factor {no_lengths:.4f} off, QUEST '
    f'with a mean per token for the sum {mean:.4f} off; one state of the law '
    f'in place of the vote {interval(data["single"][0])}'
  )


def rules_matter(_):
  """Both wrong rules are off, the first by what was found by hand."""
  no_lengths, mean = wrong_kernels()
  return abs(no_lengths - 0.0445) < 1e-3 and mean > 0.02


def heavy_tails(data):
  """Where the law itself is over-optimised."""
  *best, mode = data['heavy']
  return (
    "errors of Student's t: best-of-N "
    f'{listed(np.mean(best, axis=1))}, the mode of the law {interval(mode)}, '
    f'{signed(data["heavy gap"])} to the peak'
  )


CLAIM = Claim(
  'qalign (tables; exact reward, but 2% of the wrong are taken for better)',
  '2504.03790',
  'chains have their law; where the mode of that law is right, best-of-N rises '
  'and falls, QAlign rises and levels above its peak, at equal tokens; where '
  'the errors have heavy tails the law itself is below that peak',
  measure,
  checks=[
    text(laws, lambda d: max(d['off'][0], d['off quest'][0]) < 0.02),
    text(figure, levels),
  ],
  controls=[
    text(control, rules_matter),
    text(heavy_tails, lambda d: z(d['heavy gap']) < -3),
  ],
  derive=derive,
  axis=-1,
  history="the error was Student's t, whose law has its mode at single errors: "
  'best-of-N peaked at 64.1 and ended at 34.2, QAlign at 63.4 and 50.1, '
  'tending to 40.9 [37.4, 44.4]',
  because='a chain of 1024 responses is still rising: it ends above the peak '
  'of best-of-N, but 3.3 points (3.1 s.e.) short of the mode it tends to, '
  'where it would level',
)
