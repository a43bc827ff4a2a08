"""Beam search and DVTS against best-of-N at equal tokens (2408.03314).

Two controls that know nothing. Noise that is drawn anew for every beam leaves
the law of a leaf as it was. A random function of the text does not: equal beams
have equal scores, so every different continuation has one chance to be kept,
however seldom it is drawn, and most wrong ones are seldom and different.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import NUM_PROBLEMS, NUM_VALUES, train_base
from claims.row import Row, difference, interval, signed
from ttc import evaluation, models, sampling, search, tasks, verifiers
from worlds.learned_verifier import TASK, process_reward_model

BUDGETS = {4: 2, 16: 4}  # beams and width: the paper's M = sqrt(N)
BLIND = ('noise', 'random function of the text')
METHODS = {'beam': search.beam_search, 'DVTS': search.dvts}


class Results(NamedTuple):
  """What was measured, with problems of all seeds one after another."""

  # `(verifier, method, N)`: correctness, distinct answers, tokens by problem.
  runs: dict[tuple[str, str, int], tuple]
  single: np.ndarray  # accuracy of one sample, by problem
  right: np.ndarray  # learned scores of right steps
  wrong: np.ndarray  # of wrong ones


def reproduce(num_seeds: int) -> Row:
  """At equal tokens a search over steps is right more often."""
  bases = train_base(num_seeds, 'pretrain_s3:generators')
  by_seed = [run_seed(seed, str(base)) for seed, base in enumerate(bases)]
  law = tasks.noisy_chain_accuracy(0.08, 12, NUM_VALUES)
  results = jax.tree.map(lambda *leaves: np.concatenate(leaves), *by_seed)
  runs = results.runs
  cells, holds = [], True
  for verifier in ('exact', 'learned'):
    for n in BUDGETS:
      sampled, _, tokens = runs[verifier, 'best-of-N', n]
      gaps = {}
      for name in METHODS:
        right, _, spent = runs[verifier, name, n]
        gaps[name] = difference(right, sampled)
        low, high = evaluation.confidence_interval(gaps[name])
        holds &= high >= 0 and (low > 0 or n > min(BUDGETS))
        holds &= abs(spent.mean() / tokens.mean() - 1) < 0.01
      cells.append(
        f'{verifier} verifier, N={n} ({tokens.mean():.0f} tokens): best-of-N '
        f'{interval(sampled)}, '
        + ', '.join(f'{name} {signed(gap)}' for name, gap in gaps.items())
      )
  diversity = {
    n: difference(runs['learned', 'DVTS', n][1], runs['learned', 'beam', n][1])
    for n in BUDGETS
  }
  holds &= all(d.mean > -2 * d.standard_error for d in diversity.values())
  blind = {
    (verifier, name): difference(runs[verifier, name, 16][0], results.single)
    for verifier in BLIND
    for name in METHODS
  }
  holds &= all(
    abs(blind['noise', name].mean) < 3 * blind['noise', name].standard_error
    for name in METHODS
  )
  scores = [np.mean(results.right), np.mean(results.wrong)]
  return Row(
    'beam_search, dvts (words of 12 of two elements of S3, e=.08)',
    'searching over steps beats best-of-N at equal tokens where N is small, '
    'and the pool of DVTS is at least as diverse as that of beam search',
    '; '.join(cells)
    + '; distinct answers of DVTS against beam search, learned verifier: '
    + ', '.join(
      f'N={n} {d.mean:+.2f} (s.e. {d.standard_error:.2f})'
      for n, d in diversity.items()
    ),
    f'N=16, best leaf against one sample (closed form {100 * law:.1f}): '
    + '; '.join(
      f'{verifier} '
      + ', '.join(f'{name} {signed(blind[verifier, name])}' for name in METHODS)
      for verifier in BLIND
    )
    + f'; mean learned score of right steps {scores[0]:.2f}, of wrong ones '
    f'{scores[1]:.2f}',
    bool(holds),
  )


def run_seed(seed, directory):
  """All runs with the model of one seed."""
  loaded = models.load(directory)
  model, params = loaded.model, loaded.params
  prm = process_reward_model(TASK, loaded, directory)
  data_key, sample_key, blind_key = jax.random.split(
    jax.random.key(300 + seed), 3
  )
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(
    jax.random.split(data_key, NUM_PROBLEMS)
  )
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, NUM_PROBLEMS)

  def score_fn_of(verifier, prm, problems):
    if verifier == 'exact':
      return tasks.step_score_fn(TASK, problems)
    if verifier == 'learned':
      return functools.partial(verifiers.last_score, model, prm)
    if verifier == 'noise':
      return lambda _, responses: jax.random.uniform(
        jax.random.fold_in(blind_key, jnp.max(responses.lengths)),
        responses.lengths.shape,
      )
    return lambda _, responses: verifiers.response_uniform(
      blind_key, responses.tokens, responses.lengths
    )

  def spend(verifier, method, n, width, vote):
    @jax.jit
    def run(params, prm, problems, prompt, keys):
      score_fn = score_fn_of(verifier, prm, problems)
      answer_fn = tasks.answer_fn(TASK, problems)
      output = method(
        params, keys, prompt, step_sampler(model), score_fn, n, width
      )
      chosen = search.select_leaf(output, prompt, answer_fn, vote)
      answers = answer_fn(prompt, output.leaves)
      given = jnp.any(answers[..., None] == jnp.arange(NUM_VALUES), axis=1)
      right = chosen.answer == problems.answer
      return (right, jnp.sum(given, axis=-1), output.tokens), output.leaves

    return jax.device_get(run(params, prm, problems, prompt, keys))

  runs = {}
  for verifier in ('exact', 'learned'):
    for n, width in BUDGETS.items():
      # Of width 1 it is weighted best-of-N, sample for sample.
      runs[verifier, 'best-of-N', n], samples = spend(
        verifier, search.beam_search, n, 1, search.weighted_best_of_n
      )
      for name, method in METHODS.items():
        runs[verifier, name, n], _ = spend(
          verifier, method, n, width, search.weighted_best_of_n
        )
  for verifier in BLIND:
    for name, method in METHODS.items():
      runs[verifier, name, 16], _ = spend(
        verifier, method, 16, BUDGETS[16], search.select_best
      )
  ones = tasks.score_fn(TASK, problems)(prompt, samples)
  written = jnp.arange(TASK.response_length) < samples.lengths[..., None]
  said = np.asarray(verifiers.step_scores(model, prm, prompt, samples, written))
  is_right = tasks.process_rewards(TASK, problems, samples) > 0
  return Results(
    runs=runs,
    single=np.mean(ones, axis=1),
    right=said[np.asarray(written & is_right)],
    wrong=said[np.asarray(written & ~is_right)],
  )


def step_sampler(model):
  """Every written product is a step."""
  return search.StepSampler(
    model=model,
    stop=sampling.stop_rules(TASK.vocab_size, [TASK.eos_id]),
    eos_ids=(TASK.eos_id,),
    capacity=TASK.response_length,
    max_steps=TASK.response_length,
    max_step_tokens=1,
  )
