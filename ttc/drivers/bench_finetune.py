"""Speed of a GRPO step beside TRL, and where the time of ours goes."""

import dataclasses
import functools
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

from ttc import finetuning, models, sampling, tasks
from ttc.drivers import timing
from ttc.drivers.trl_peer import seconds_of_trl
from ttc.evaluation.tables import markdown_table
from ttc.finetuning import Rollout

TASK = tasks.permutation_word_problem('s3', 8)


class Shape(NamedTuple):
  """What is trained, and on how much."""

  num_layers: int
  width: int
  num_prompts: int
  group_size: int
  new_tokens: int

  @property
  def config(self) -> models.TransformerConfig:
    """Of the model."""
    heads = max(self.width // 16, 1)
    return models.TransformerConfig(
      vocab_size=TASK.vocab_size,
      num_layers=self.num_layers,
      embed_dim=self.width,
      mlp_dim=11 * self.width // 4,
      num_heads=heads,
      num_kv_heads=heads,
      head_dim=self.width // heads,
      max_length=256,
    )


class Timed(NamedTuple):
  """Seconds of steps of both, with as many threads."""

  ours: list[float]
  theirs: list[float]
  shares: str  # of our time, in words


def bench_finetune(
  shape: Shape, repetitions: int, threads: Sequence[int] = (1, 2)
) -> str:
  """Times steps of both: sample, score, update; fresh responses in each.

  Args:
    shape: of model and batch; the same random weights, prompts and lengths.
    repetitions: timed steps of each.
    threads: that both have, one number after the other, each in a process that
      is held to as many CPUs.

  Returns:
    A Markdown table: tokens sampled and trained a second, and shares.

  Raises:
    ValueError: for more threads than this process may use CPUs, or none.
    ImportError: naming what the peer needs.
  """
  allowed = len(os.sched_getaffinity(0))
  for number in threads:
    if not 1 <= number <= allowed:
      raise ValueError(f'--threads={number} is not from 1 to {allowed} CPUs')
  rows, notes = [], []
  tokens = shape.num_prompts * shape.group_size * shape.new_tokens
  for number in threads:
    # A fresh process: XLA counts the CPUs once, when it is first used.
    with multiprocessing.get_context('spawn').Pool(1) as pool:
      timed = pool.apply(_time_both, (shape, repetitions, number))
    for name, seconds in (('ttc', timed.ours), ('trl', timed.theirs)):
      speed = timing.spread([tokens / s for s in seconds], '.0f')
      rows.append([name, str(number), speed])
    ratio = statistics.median(timed.theirs) / statistics.median(timed.ours)
    notes.append(
      f'{number} threads: ratio {ratio:.2f}; of our time {timed.shares}'
    )
  head = ['', 'threads', 'tokens sampled and trained a second']
  return '\n'.join([*markdown_table(head, rows), '', *notes])


def _time_both(shape: Shape, repetitions: int, threads: int) -> Timed:
  """Both in this process, which is held to the first CPUs it may use."""
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
  config = shape.config
  params = models.transformer(config).init(jax.random.key(0))
  problems = jax.vmap(TASK.generate)(
    jax.random.split(jax.random.key(1), shape.num_prompts)
  )
  ours, shares = _seconds_of_ours(shape, params, problems, repetitions)
  prompts = [
    TASK.to_text(row[:n])
    for row, n in zip(*map(np.asarray, tasks.to_prompt(problems)), strict=True)
  ]
  with tempfile.TemporaryDirectory() as name:
    theirs = seconds_of_trl(
      pathlib.Path(name),
      config,
      params,
      TASK.words,
      prompts,
      group_size=shape.group_size,
      new_tokens=shape.new_tokens,
      num_steps=repetitions,
      threads=threads,
    )
  return Timed(ours, theirs, shares)


def _seconds_of_ours(shape, params, problems, repetitions):
  """Of steps, and the shares of their parts in words."""
  model = models.transformer(shape.config)
  wide = models.transformer(dataclasses.replace(shape.config, many_rows=True))
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-6))
  update = jax.jit(finetuning.make_policy_update(wide, optimizer))
  prompt = tasks.to_prompt(problems)
  draw = jax.jit(
    functools.partial(
      sampling.generate,
      model=model,
      capacity=shape.new_tokens,
      stop=sampling.stop_rules(TASK.vocab_size),
    ),
    static_argnums=3,
  )
  last = TASK.vocab_size - 1
  score = jax.jit(lambda tokens: (tokens == last).sum(axis=-1) * 1.0)
  state = finetuning.init_state(lambda _: params, optimizer, jax.random.key(0))
  parts = {'sampling': [], 'scoring': [], 'update': []}
  for i in range(repetitions + 1):
    keys = jax.random.split(jax.random.key(i), shape.num_prompts)
    times = [time.perf_counter()]
    responses = jax.block_until_ready(
      draw(state.params, keys, prompt, shape.group_size)
    )
    times.append(time.perf_counter())
    rewards = jax.block_until_ready(score(responses.tokens))
    times.append(time.perf_counter())
    rollout = Rollout(prompt, responses, rewards)
    state, _ = jax.block_until_ready(update(state, None, rollout))
    times.append(time.perf_counter())
    for name, begin, end in zip(parts, times, times[1:], strict=False):
      parts[name].append(end - begin)
  timed = {name: seconds[1:] for name, seconds in parts.items()}
  whole = [sum(step, 0.0) for step in zip(*timed.values(), strict=True)]
  shares = ', '.join(
    f'{name} {100 * sum(seconds) / sum(whole):.0f}%'
    for name, seconds in timed.items()
  )
  return whole, shares
