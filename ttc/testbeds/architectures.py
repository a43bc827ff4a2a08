"""Three models that are the dearer the better, and judges of known quality.

A space of 1440 architectures to search. Problems are `AnswerWorld`s; half of a
model's law is its own, half is common to all, so that the models err together
as models do.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import strategies, verifiers
from ttc.io import kinetics_plots, regret_plots
from ttc.io.matplotlib_extra import save_figure
from ttc.strategies import Critique, Fuse, Generate, Rank, UnitTest, Verify
from ttc.tasks import answer_world

NUM_ANSWERS = 6
EDGES = (0.2, 0.8, 1.6)  # nats that the right answer is ahead
PRICES = (1, 3, 9)  # of a token
MAX_DRAFTS = (24, 8, 3)  # of each model
NUM_TESTS = 4
OPERATORS = strategies.Operators(
  critique=8, rank=8, verify=8, write_test=16, run_test=1, fuse=24
)
# Archon's kind of space: integers, a choice of a later layer among them.
AXES = {
  'small': (0, 2, 4, 8, 16),
  'medium': (0, 1, 2, 4),
  'large': (0, 1, 2, 3),
  'filter': ('none', 'verify', 'test'),
  'critic': ('none', 'fuse', 'rank'),
  'fusers': (0, 8),
}
SIZES = tuple(map(len, AXES.values()))
MAX_LAYERS = 6


def architecture_at(point):
  """The architecture of a point; one draft where nobody would write any."""
  choice = {
    name: values[i]
    for (name, values), i in zip(AXES.items(), point, strict=True)
  }
  samples = choice['small'], choice['medium'], choice['large']
  if not any(samples):
    return Generate((1, 0, 0)), Fuse()
  layers = [Generate(samples)]
  layers += {'none': [], 'verify': [Verify()], 'test': [UnitTest(NUM_TESTS)]}[
    choice['filter']
  ]
  wide = [Fuse(choice['fusers'])] if choice['fusers'] else []
  match choice['critic']:
    case 'none':
      layers += [*wide, Fuse()]
    case 'fuse':
      layers += [Critique(), *wide, Fuse()]
    case 'rank':
      layers += [*wide, Critique(), Rank(1)]
  return tuple(layers)


def draw_drafts(key, blind):
  """What three models write for one problem, and what is said of it.

  Args:
    key: of the problem.
    blind: judges know nothing: all drafts seem to give the same wrong answer.

  Returns:
    Drafts; answer 0 is right.
  """
  keys = jax.random.split(key, 7)
  world_of = lambda key, edge: answer_world.random_world(
    key, NUM_ANSWERS, 4, edge=edge
  )
  answers, tokens, models, places = [], [], [], []
  for m, (edge, price, n) in enumerate(
    zip(EDGES, PRICES, MAX_DRAFTS, strict=True)
  ):
    common = world_of(keys[0], edge)
    own = world_of(jax.random.fold_in(keys[1], m), edge)
    mixed = jnp.logaddexp(common.log_probs, own.log_probs) - jnp.log(2.0)
    world = common._replace(log_probs=mixed)
    path_key = jax.random.fold_in(keys[2], m)
    paths = answer_world.draw_paths(path_key, world, n)
    answers.append(world.answers[paths])
    tokens.append(price * world.lengths[paths])
    models.append(jnp.full(n, m))
    places.append(jnp.arange(n))
  answers = jnp.concatenate(answers)
  drafts = judged(keys[3:7], jnp.where(blind, 1, answers), 0, NUM_ANSWERS)
  return drafts._replace(
    answers=answers,
    tokens=jnp.concatenate(tokens),
    models=jnp.concatenate(models),
    places=jnp.concatenate(places),
  )


def judged(keys, answers, gold, num_answers):
  """What judges of known quality say; prices and authors are left open.

  Args:
    keys: four.
    answers: as the judges see them.
    gold: the right one.
    num_answers: answers are below it.

  Returns:
    Drafts.
  """
  right = answers == gold
  sign = jnp.where(right, 1.0, -1.0)
  verdicts = verifiers.flip_verdicts(keys[2], right, 0.8, 0.4)[..., 0]
  # A test sees answers: drafts of one answer pass or fail together.
  passes = verifiers.flip_verdicts(
    keys[3], jnp.arange(num_answers) == gold, 0.9, 0.5, NUM_TESTS
  )
  zeros = jnp.zeros_like(answers)
  return strategies.Drafts(
    answers=answers,
    tokens=zeros,
    models=zeros,
    places=zeros,
    ranking=verifiers.add_noise(keys[0], sign / 2, 1.0),
    # Twice the mean over the variance times what is seen: its log-odds.
    criticism=verifiers.add_noise(keys[1], sign, 2.0) / 2,
    beliefs=verdicts.astype(jnp.float32),
    passed=passes[answers],
  )


@functools.partial(jax.jit, static_argnums=1)
def outcomes(seed, num_problems, plans, blind=False):
  """Correctness and tokens, `[S, B]`, of plans on problems of a seed."""
  key = jax.random.fold_in(jax.random.key(1000), seed)
  draw_key, run_key = jax.random.split(key)
  draw = jax.vmap(draw_drafts, in_axes=(0, None))
  drafts = draw(jax.random.split(draw_key, num_problems), blind)
  run_keys = jax.random.split(run_key, num_problems)
  answers, tokens = run_plans(run_keys, drafts, plans)
  return answers == 0, tokens


def run_plans(keys, drafts, plans):
  """Answers and tokens, `[S, B]`, of plans on the same drafts."""
  run = jax.vmap(strategies.run, in_axes=(None, 0, 0, None))

  def of_plan(plan):
    selection = run(plan, keys, drafts, OPERATORS)
    return selection.answer, selection.tokens

  return jax.lax.map(of_plan, plans)


def all_plans():
  """Plans of all points, in C order."""
  plans = [
    strategies.encode(architecture_at(point), len(EDGES), MAX_LAYERS)
    for point in np.ndindex(*SIZES)
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *plans)


def regrets(search, values, num_evaluations, seeds, is_free=lambda _: False):
  """Regret after each evaluation, and the points found, of each seed.

  Args:
    search: proposes points.
    values: of all points, an axis for each axis of the space.
    num_evaluations: of a run.
    seeds: of the runs.
    is_free: points whose value is no evaluation.

  Returns:
    Regret `[runs, E]`, points `[runs, A]`, evaluations to 95% of the optimum
    `[runs]`.
  """
  lost, found, needed = [], [], []
  for seed in seeds:
    history = strategies.run_search(
      search, lambda p: values[p], values.shape, num_evaluations, seed, is_free
    )
    best = strategies.incumbents(history, num_evaluations)
    lost.append(values.max() - values[tuple(best.T)])
    found.append(best[-1])
    needed.append(strategies.evaluations_to(history, 0.95 * values.max()))
  return np.array(lost), np.array(found), np.array(needed)


def shuffled(values, seed):
  """The same values at other points: a space without structure."""
  return (
    np.random.default_rng(seed).permuted(values.ravel()).reshape(values.shape)
  )


def save_regrets(path, panels):
  """Writes regret curves, a panel for each title."""
  figure, axes = kinetics_plots.new_figure(len(panels), share_y=False)
  for ax, (title, curves) in zip(axes, panels.items(), strict=True):
    regret_plots.plot_regret(ax, curves, title=title)
  kinetics_plots.finish_figure(figure, axes)
  save_figure(figure, path, bbox_inches='tight')


# One technique and one model: what a user would do without a search.
SINGLES = tuple(
  (Generate(tuple(n * (m == i) for i in range(3))), last)
  for m, most in enumerate(MAX_DRAFTS)
  for n in (1, 2, 3, 4, 8, 16, 24)
  if n <= most
  for last in (Fuse(), Rank(1))
)


def plans_of(architectures):
  """Plans of several architectures as one."""
  plans = [strategies.encode(a, len(EDGES), MAX_LAYERS) for a in architectures]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *plans)


def values_of(right, tokens, budget):
  """What a search maximises, an axis for each axis of the space."""
  values = strategies.within_budget(
    right.mean(axis=1), tokens.mean(axis=1), float(budget)
  )
  values = values.reshape(SIZES)
  values[0, 0, 0] = -1.0  # nobody writes a draft
  return values
