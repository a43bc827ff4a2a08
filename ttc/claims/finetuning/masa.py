"""Predictions of success, and a gate that trusts them (2510.03259)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc.claims.claim import Claim, every, text
from ttc.finetuning import masa
from ttc.testbeds import self_prediction as bed

NUM_PROBLEMS = 512  # of a seed, once to choose the gate and once to judge it
BORDERS = (0.01, 0.03, 0.06, 0.1, 0.14)
SPREAD = 0.2
USEFUL_KEPT = 0.92  # asked of the gate where it is chosen
NUM_UPDATES, TARGET = 80, 0.9  # of the solver; its accuracy on chains
RACERS = {'GRPO': (False, 0), 'gated': (True, 0), 'dealt': (True, 1)}


def measure(seed, size, cache):
  """Predicted and measured pass rates, and what gates do to groups."""
  del cache
  before, after, metrics = bed.trained(seed, size)
  num = size.problems(NUM_PROBLEMS)
  keys = jax.random.split(jax.random.key(100 + seed), 2)
  chosen = judged_by(*outcome(after, keys[0], num)[1:])
  kept = np.asarray(chosen['useful_kept'])
  good = [i for i in range(len(BORDERS)) if kept[i] >= USEFUL_KEPT]
  border = max(good or [0], key=lambda i: chosen['dead_removed'][i])
  found = {'border': BORDERS[border], 'reward': metrics['reward'][-20:].mean()}
  for name, params in {'before': before, 'after': after}.items():
    asked, made, solutions = outcome(params, keys[1], num)
    bound = masa.gate_bound(asked.pass_rate, bed.G)  # the same prompts for both
    report = judged_by(made, solutions)
    predicted = made.pass_rate.mean(axis=1)
    measured = solutions.is_right.mean(axis=1)
    found[name] = {
      'correlation': jnp.corrcoef(predicted, measured)[0, 1],
      **{what: x[border] for what, x in report.items()},
    }
    found['bound'] = bound._asdict()
  gate = masa.Gate(found['border'], 1 - found['border'], SPREAD)
  for name, how in RACERS.items():
    curve = bed.race(
      after, jax.random.key(200 + seed), size.steps(NUM_UPDATES), gate, *how
    )
    found[name] = {'to target': tokens_to_target(curve)}
  return found


def tokens_to_target(curve):
  """Tokens generated until the accuracy is there; infinite if it never is."""
  reached = curve.accuracy >= TARGET
  first = curve.tokens[jnp.argmax(reached)]
  return jnp.where(jnp.any(reached), first, jnp.inf)


def outcome(params, key, num):
  """Prompts, what was predicted, and what the solver did."""
  asked_key, predict_key, solve_key = jax.random.split(key, 3)
  asked = bed.questions(asked_key, num)
  made = bed.read(bed.predict(params, predict_key, asked).responses)
  return asked, made, bed.solve(solve_key, asked)


def judged_by(made, solutions):
  """What gates of all borders do, and the tokens that a useful group costs."""
  rewards = solutions.is_right.astype(jnp.float32)
  useful = jnp.max(rewards, axis=1) > jnp.min(rewards, axis=1)
  solving = solutions.lengths.sum(axis=1)
  found = {'dead_removed': [], 'useful_kept': [], 'random': [], 'cost': []}
  for border in BORDERS:
    kept = masa.keeps(made.pass_rate, masa.Gate(border, 1 - border, SPREAD))
    report = masa.gate_report(kept, rewards)
    found['dead_removed'].append(report.dead_removed)
    found['useful_kept'].append(report.useful_kept)
    # The same prompts dealt to others: a gate that knows nothing.
    blind = masa.gate_report(jnp.roll(kept, 1), rewards)
    found['random'].append(blind.dead_removed)
    spent = jnp.sum(solving * kept) + 2 * bed.M * kept.size
    each = spent / jnp.maximum(jnp.sum(useful & kept), 1)
    found['cost'].append(each / (jnp.sum(solving) / jnp.sum(useful)))
  return {name: jnp.stack(x) for name, x in found.items()}


def listed(name, what, scale=100.0, digits=1):
  """A figure of each seed."""
  return lambda d: ' '.join(
    f'{scale * x:.{digits}f}' for x in np.ravel(d[name][what])
  )


def raced(d):
  """Thousands of tokens of each seed."""
  parts = [f'{name} {listed(name, "to target", 1e-3)(d)}' for name in RACERS]
  return f'thousand tokens to {TARGET:g}: ' + ', '.join(parts)


CLAIM = Claim(
  'MASA (chains modulo 97 of known law, half useful, a quarter sure and a '
  f'quarter hopeless; groups of {bed.G}, {bed.M} predictions a prompt)',
  '2510.03259',
  'predicted pass rates correlate with the measured ones by .7 or more; the '
  'gate, chosen on other prompts, removes 70% of dead groups and keeps 90% of '
  'useful ones; a useful group costs fewer tokens, and a solver that learns '
  f'beside it is right in {100 * TARGET:.0f}% after a tenth fewer than GRPO '
  'alone, those of predictions included',
  measure,
  checks=[
    text(
      lambda d: f'correlation {listed("after", "correlation", 1, 3)(d)}',
      lambda d: np.all(d['after']['correlation'] >= 0.7),
    ),
    text(
      lambda d: (
        f'dead removed {listed("after", "dead_removed")(d)}, useful kept '
        f'{listed("after", "useful_kept")(d)}'
      )
    ),
    every('70% of dead', lambda d: d['after']['dead_removed'] >= 0.7),
    every('90% of useful', lambda d: d['after']['useful_kept'] >= 0.9),
    text(
      lambda d: (
        f'tokens of a useful group {listed("after", "cost")(d)} percent'
      ),
      lambda d: np.all(d['after']['cost'] < 1),
    ),
    text(raced),
    every(
      'a tenth fewer tokens to equal accuracy',
      lambda d: d['gated']['to target'] < 0.9 * d['GRPO']['to target'],
    ),
  ],
  controls=[
    text(
      lambda d: (
        'the gate that knows every pass rate: '
        f'{listed("bound", "dead_removed")(d)} and '
        f'{listed("bound", "useful_kept")(d)}'
      )
    ),
    text(
      lambda d: f'a gate dealt to other prompts {listed("after", "random")(d)}',
      lambda d: np.all(d['after']['random'] < d['after']['dead_removed'] - 0.2),
    ),
    every(
      'dealt to other prompts it saves less than half of that',
      lambda d: (
        d['GRPO']['to target'] - d['dealt']['to target']
        < (d['GRPO']['to target'] - d['gated']['to target']) / 2
      ),
    ),
    text(
      lambda d: (
        'after imitation alone '
        f'{listed("before", "dead_removed")(d)} and '
        f'{listed("before", "useful_kept")(d)}'
      )
    ),
  ],
)
