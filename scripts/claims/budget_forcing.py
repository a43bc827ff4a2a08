"""Cutting and lengthening thoughts (s1, arXiv 2501.19393)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from claims.calibrated_world import LENGTH, NUM_VALUES
from claims.row import Row, difference, interval, signed
from ttc import evaluation, finetuning, models, sampling, search, tasks


def reproduce(num_seeds: int) -> Row:
  """Accuracy rises with the budget to the trained length, then is flat."""
  model, task, params = thinking_models(num_seeds)
  budgets = np.array([0, 2, 4, 6, 8, 16])
  right, thinking = think(model, task, params, budgets, 0)
  waits, longer = think(model, task, params, np.array([16]), 1)
  accuracy = right.mean(axis=1)
  ceiling = np.mean(
    [
      tasks.noisy_chain_accuracy(0.05, length, NUM_VALUES)
      for length in range(1, LENGTH + 1)
    ]
  )
  points = ', '.join(
    f'{b}: {100 * a:.1f}' for b, a in zip(budgets, accuracy, strict=True)
  )
  control = evaluation.budget_control(
    jnp.asarray(thinking), 0, jnp.asarray(budgets)[:, None]
  )
  slope = evaluation.budget_scaling(
    jnp.asarray(budgets[:5]), jnp.asarray(accuracy[:5])
  )
  best = evaluation.budget_performance(jnp.asarray(accuracy))
  gain = difference(waits[0], right[-1])
  flat = difference(right[-1], right[4])
  rises = difference(right[4], right[0])
  # Between two budgets it may fall by noise, not by more.
  steps = [difference(right[i + 1], right[i]) for i in range(4)]
  monotone = all(s.mean > -2 * s.standard_error for s in steps)
  return Row(
    'budget_forcing (S3, words of 1 to 8 factors, e=.05)',
    'accuracy rises with the budget to the trained length, then flattens; '
    '"Wait" gains at most 1 point',
    f'accuracy at budget {points}; 8 against 0 {signed(rises)}; 16 against 8 '
    f'{signed(flat)}; Control {float(control):.2f}, Scaling '
    f'{100 * float(slope):.2f} points per token up to 8, Performance '
    f'{100 * float(best):.1f} (fully trained it would be '
    f'{100 * ceiling:.1f})',
    f'one "Wait" at budget 16: {interval(waits[0])}, {signed(gain)}, thinking '
    f'{longer.mean():.1f} tokens instead of {thinking[-1].mean():.1f}',
    bool(
      rises.mean > 0.05
      and monotone
      and abs(flat.mean) < 0.01
      and gain.mean <= 0.01
    ),
  )


def thinking_models(num_seeds, num_steps=900):
  """Trains models of `v_1 ... v_m END answer EOS` from words of S3.

  Words have 1 to 8 factors. Half of the traces think all products; the others
  are cut after a random number of them and answer there, with END given and not
  learned: the model ends its thinking by itself at the last product, and can
  answer wherever it is cut. The answer is the last product of the whole, noisy
  trace.
  """
  task = tasks.permutation_word_problem('s3', LENGTH, noise=0.05, min_length=1)
  end_id = task.vocab_size
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=task.vocab_size + 1,
      num_layers=2,
      embed_dim=64,
      mlp_dim=176,
      num_heads=4,
      num_kv_heads=4,
      head_dim=16,
      max_length=64,
    )
  )

  def sequence(key):
    task_key, half_key, cut_key = jax.random.split(key, 3)
    problem = task.generate(task_key)
    needed = problem.trace_length - 1
    cut = jax.random.randint(cut_key, (), 0, needed + 1)
    m = jnp.where(jax.random.bernoulli(half_key), needed, cut)
    t = jnp.arange(LENGTH + 3)
    thoughts = problem.trace[jnp.minimum(t, LENGTH - 1)]
    last = jnp.where(t == m, end_id, problem.trace[needed - 1])
    last = jnp.where(t == m + 2, task.eos_id, last)
    trace = jnp.where(t < m, thoughts, last)
    joined = tasks.training_sequence(
      problem._replace(trace=trace, trace_length=m + 3)
    )
    at_end = jnp.arange(joined.tokens.size) == problem.prompt_length + m
    given = at_end & (m < needed)
    return joined.tokens, joined.is_trace & ~given

  batch_fn = lambda key: jax.vmap(sequence)(jax.random.split(key, 64))
  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, num_steps)
  )
  train_step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )

  @jax.jit
  def train(key):
    state = finetuning.init_state(model.init, optimizer, key)
    return finetuning.run_steps(train_step, batch_fn, state, num_steps)[0]

  states = [train(jax.random.key(seed)) for seed in range(num_seeds)]
  return model, task, [state.params for state in states]


def think(model, task, params, budgets, num_waits, num_problems=1024):
  """Correctness and thinking tokens, `[budgets, seeds * problems]`."""
  end_id = task.vocab_size
  capacity = int(max(budgets)) + 4

  @jax.jit
  def run(params, key, budget):
    data_key, sample_key = jax.random.split(key)
    keys = jax.random.split(data_key, num_problems)
    problems = jax.vmap(task.generate)(keys)
    controller = search.budget_forcing(
      end_id,
      end=[end_id],
      cut=[end_id],
      wait=[task.words.index('=')],
      budget=budget,
      num_waits=num_waits,
    )
    prompt = tasks.to_prompt(problems)
    responses = sampling.generate(
      params,
      jax.random.split(sample_key, num_problems),
      prompt,
      1,
      model=model,
      capacity=capacity,
      stop=sampling.stop_rules(model.vocab_size, [task.eos_id]),
      controller=controller,
    )
    right = tasks.score_fn(task, problems)(prompt, responses)[:, 0]
    return right, jnp.argmax(responses.tokens[:, 0] == end_id, axis=1)

  columns = [
    [
      run(p, jax.random.key(200 + seed), jnp.int32(budget))
      for seed, p in enumerate(params)
    ]
    for budget in budgets
  ]
  join = lambda i: np.array(
    [np.concatenate([pair[i] for pair in column]) for column in columns]
  )
  return join(0), join(1)
