"""Lengths of wrong answers under GRPO and Dr. GRPO (2503.20783)."""

import jax
import jax.numpy as jnp

from ttc import finetuning
from ttc.claims.claim import Claim, every, exceeds, text
from ttc.testbeds import verbose
from ttc.testbeds.policy_training import Course, examiner, learner

NUM_UPDATES, NUM_PROBLEMS, LAST = 150, 512, 100
ESTIMATORS = {'GRPO': finetuning.GRPO, 'Dr. GRPO': finetuning.DR_GRPO}


def measure(seed, size, cache):
  """Accuracy, and mean lengths of wrong responses in training."""
  loaded = verbose.base(seed, size, cache)
  course = Course(
    loaded.model,
    verbose.TASK,
    verbose.CAPACITY,
    finetuning.GRPO,
    size.steps(NUM_UPDATES),
  )
  exam = examiner(course, size.problems(NUM_PROBLEMS))
  key = jax.random.key(100 + seed)
  right, lengths = exam(loaded.params, key)
  found = {
    'base': {
      'right': right.mean(),
      'wrong': jnp.sum(lengths * (1 - right)) / jnp.sum(1 - right),
      'length': lengths.mean(),
    }
  }
  for name, options in ESTIMATORS.items():
    learn = learner(course._replace(options=options))
    params, metrics = learn(loaded.params, jax.random.key(seed))
    right, lengths = exam(params, key)
    found[name] = {
      'right': right.mean(),
      'wrong': jnp.nanmean(metrics['wrong_length'][-LAST:]),
      'length': lengths.mean(),
    }
  return found


def listed(name):
  """Accuracy and lengths by seed."""

  def say(d):
    of = lambda what, digits: ' '.join(f'{x:.{digits}f}' for x in d[name][what])
    return (
      f'{name}: accuracy {of("right", 3)}, tokens {of("length", 1)}, of wrong '
      f'ones {of("wrong", 1)}'
    )

  return say


CLAIM = Claim(
  'GRPO and Dr. GRPO (S3 solved at length, each product written once to three '
  f'times; {NUM_UPDATES} updates of 16 prompts and 8 responses, lengths of '
  f'wrong responses over the last {LAST})',
  '2503.20783',
  'wrong responses do not grow under Dr. GRPO and are shorter than under GRPO',
  measure,
  checks=[
    text(listed('GRPO')),
    text(listed('Dr. GRPO')),
    every(
      'not longer than at first under Dr. GRPO',
      lambda d: d['Dr. GRPO']['wrong'] <= d['base']['wrong'],
    ),
    exceeds('of wrong ones, GRPO to Dr. GRPO ', 'GRPO/wrong', 'Dr. GRPO/wrong'),
  ],
  controls=[
    text(listed('base')),
    every(
      'both learn',
      lambda d: (d['GRPO']['right'] > 0.8) & (d['Dr. GRPO']['right'] > 0.8),
    ),
  ],
)
