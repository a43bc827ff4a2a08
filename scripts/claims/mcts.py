"""Tree search, beam search and best-of-N at equal tokens (2502.07191)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import NUM_PROBLEMS, base_law, train_base
from claims.row import Row, difference, interval, signed
from ttc import evaluation, models, sampling, search, tasks, verifiers
from ttc.types import Prompt
from worlds.calibrated import TASK, noisy_steps

BUDGETS = (4, 16)
METHODS = {m.name: m for m in search.METHODS}
NAMES = ('weighted_best_of_n', 'beam_search', 'mcts')


def reproduce(num_seeds: int) -> Row:
  """At equal tokens a tree search is right more often than best-of-N."""
  loaded = [models.load(str(d)) for d in train_base(num_seeds)]
  by_seed = [
    run_seed(loaded[0].model, loaded[seed].params, seed)
    for seed in range(num_seeds)
  ]
  runs = jax.tree.map(lambda *leaves: np.concatenate(leaves), *by_seed)
  cells, holds = [], True
  for verifier in ('exact', 'noisy'):
    for n in BUDGETS:
      sampled, tokens = runs[verifier, 'weighted_best_of_n', n]
      found, spent = runs[verifier, 'mcts', n]
      gap = difference(found, sampled)
      to_beam = difference(found, runs[verifier, 'beam_search', n][0])
      low, high = evaluation.confidence_interval(gap)
      holds &= (low > 0) if n == min(BUDGETS) else (high >= 0)
      ratio = spent.mean() / tokens.mean()
      holds &= ratio < 1.05
      cells.append(
        f'{verifier} verifier, N={n}: best-of-N {interval(sampled)}, MCTS '
        f'{signed(gap)} at {ratio:.2f} times its tokens, to beam search '
        f'{signed(to_beam)}'
      )
  blind = runs['random', 'mcts', 16][0]
  informed = difference(runs['exact', 'mcts', 16][0], blind)
  low, _ = evaluation.confidence_interval(informed)
  error = table_error()
  holds &= low > 0 and abs(error) < 3
  return Row(
    'mcts (S3, L=8, e=.1)',
    'PUCT search over steps beats best-of-N at equal tokens where N is small; '
    'its values converge to the exact ones',
    '; '.join(cells) + '; value of the root of a table against the exact one '
    f'z = {error:+.1f}',
    f'random verifier, N=16: {interval(blind)} for one sample '
    f'{100 * base_law()[0]:.1f} (the prior alone), exact verifier against it '
    f'{signed(informed)}',
    bool(holds),
  )


def run_seed(model, params, seed):
  """`(verifier, method, N)` to correctness and tokens of each problem."""
  key = jax.random.key(600 + seed)
  cells = [
    (verifier, name, n)
    for verifier in ('exact', 'noisy')
    for name in NAMES
    for n in BUDGETS
  ]
  cells.append(('random', 'mcts', 16))
  return {
    cell: jax.device_get(solve(model, params, key, *cell)) for cell in cells
  }


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def solve(model, params, key, verifier, name, n):
  """Correctness and tokens of a method on the problems of a seed."""
  data_key, sample_key, noise_key = jax.random.split(key, 3)
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(
    jax.random.split(data_key, NUM_PROBLEMS)
  )
  score_fns = {
    'exact': tasks.step_score_fn(TASK, problems),
    'noisy': noisy_steps(problems, noise_key),
    'random': lambda prompt, responses: verifiers.response_uniform(
      noise_key, responses.tokens, responses.lengths
    ),
  }
  setting = search.Setting(
    model=model,
    params=params,
    answer_fn=tasks.answer_fn(TASK, problems),
    score_fn=score_fns[verifier],
    eos_ids=(TASK.eos_id,),
    capacity=TASK.response_length,
    max_steps=TASK.response_length,
    max_step_tokens=1,
  )
  keys = jax.random.split(sample_key, NUM_PROBLEMS)
  chosen = search.solve(
    METHODS[name], setting, keys, tasks.to_prompt(problems), n
  )
  return chosen.answer == problems.answer, chosen.tokens


def table_error(trials=2000, size=3):
  """Standard errors between the mean value of roots and the exact value.

  A tree of depth two is expanded whole and then explored evenly.
  """
  model = models.table_model(size)
  table = model.init(jax.random.key(2))
  law = jax.nn.softmax(table)
  reward = jax.random.uniform(jax.random.key(3), (size, size))
  value = jnp.sum(law * reward, axis=1)

  def score_fn(prompt, responses):
    first, second = responses.tokens[..., 0], responses.tokens[..., 1]
    whole = responses.lengths == 2
    return jnp.where(whole, reward[first, second], value[first])

  steps = search.StepSampler(
    model=model,
    stop=sampling.stop_rules(size),
    eos_ids=(),
    capacity=2,
    max_steps=2,
    max_step_tokens=1,
  )
  prompt = Prompt(
    jnp.zeros((trials, 1), jnp.int32), jnp.ones((trials,), jnp.int32)
  )
  run = lambda keys: (
    search.mcts(
      table,
      keys,
      prompt,
      steps,
      score_fn,
      4,
      2,
      prior='drawn',
      c_init=1e4,
      num_simulations=4000,
    ).tree
  )
  tree = jax.jit(run)(jax.random.split(jax.random.key(4), trials))
  got = np.asarray(tree.value_sums[:, 0] / tree.visits[:, 0])
  exact = float(law[0] @ value)
  return (got.mean() - exact) / (got.std() / trials**0.5)
