"""Four policy-gradient estimators from one calibrated base (2503.20783)."""

import jax

from ttc import finetuning
from ttc.claims.claim import Claim, across_seeds, agrees, every, text
from ttc.testbeds.calibrated import TASK, base, base_law
from ttc.testbeds.policy_training import Course, examiner, learner

NUM_UPDATES, NUM_PROBLEMS = 150, 512
ESTIMATORS = {
  'GRPO': finetuning.GRPO,
  'Dr. GRPO': finetuning.DR_GRPO,
  'RLOO': finetuning.RLOO,
  'DAPO': finetuning.DAPO,
}
TARGET = 0.93


def dealt_out(params, problems, rollout):
  """The advantages of each group, dealt out anew: they teach nothing."""
  del params, problems
  key = jax.random.key(rollout.responses.tokens.sum())
  gain = finetuning.advantages(rollout.rewards, finetuning.DR_GRPO)
  return jax.random.permutation(key, gain, axis=1)


def measure(seed, size, cache):
  """Accuracy of samples on unseen problems, by estimator."""
  loaded = base(seed, size, cache)
  updates, problems = size.steps(NUM_UPDATES), size.problems(NUM_PROBLEMS)
  course = Course(
    loaded.model,
    TASK,
    TASK.response_length,
    finetuning.GRPO,
    updates,
  )
  key = jax.random.key(100 + seed)
  exam = examiner(course, problems)
  found = {'base': exam(loaded.params, key)[0].mean(axis=1)}
  courses = {
    name: course._replace(options=options)
    for name, options in ESTIMATORS.items()
  }
  courses['dealt out'] = course._replace(
    options=finetuning.DR_GRPO, judge=dealt_out
  )
  for name, each in courses.items():
    params, _ = learner(each)(loaded.params, jax.random.key(seed))
    found[name] = exam(params, key)[0].mean(axis=1)
  return {'right': found}


def says(name):
  """Accuracy by seed."""
  return lambda d: f'{name} {across_seeds(d["right"][name], d["num_seeds"], 3)}'


def reaches(name):
  """Whether every seed does."""
  return lambda d: (
    d['right'][name].reshape(d['num_seeds'], -1).mean(axis=1) > TARGET
  )


CLAIM = Claim(
  f'GRPO, Dr. GRPO, RLOO and DAPO (S3 base of .466, {NUM_UPDATES} updates of '
  '16 prompts and 8 responses)',
  '2503.20783',
  f'each of the four reaches {TARGET} on unseen problems',
  measure,
  checks=[
    check
    for name in ESTIMATORS
    for check in (text(says(name)), every(f'above {TARGET}', reaches(name)))
  ],
  controls=[
    agrees('the base ', 'right/base', float(base_law()[0]), 6.0),
    text(
      says('dealt out'),
      lambda d: (
        d['right']['dealt out'].mean() < d['right']['base'].mean() + 0.1
      ),
    ),
  ],
)
