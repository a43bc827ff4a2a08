r"""Meta-probing agents: items that are written anew for each test (2402.14865).

Zhu et al., "Dynamic Evaluation of Large Language Models by Meta Probing
Agents" (DyVal 2). Five principles: paraphrase the question (1) or the choices
(2), permute the choices (3), add context that is not needed (4), add a wrong
choice (5). They probe three abilities: language {1, 2, 3}, problem solving {4},
domain knowledge {5}. Principles 3 to 5 are done here by rules, with the gold
answer carried along as an index (the released permuter looks for its text, and
loses it where two options are the same); context and foils come from other
items. 1 and 2 are a model's: `probe` has it rewrite an item until a judge
agrees, at most five times, and keeps what was accepted last.

A record gives an item for each principle; they are a cluster, so intervals of
the drops are paired.
"""

import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ttc.benchmarks import multiple_choice
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.multiple_choice import LETTERS, SCHEMA
from ttc.benchmarks.schema import from_records
from ttc.tasks import Item, graders

ABILITIES = {
  'language': ('paraphrase', 'choices paraphrased', 'permuted'),
  'problem solving': ('context',),
  'domain knowledge': ('foil',),
}
BY_RULES = ('original', 'permuted', 'context', 'foil', 'all three')
_OUTPUT = re.compile(r'<<<(.*?)>>>', re.DOTALL)


def meta_probing() -> Benchmark:
  """Makes the protocol with the probes that need no model."""

  def load(path):
    items = from_records(SCHEMA, multiple_choice.to_item)(path)
    return probe_by_rules(items, seed=0)

  return Benchmark(
    name='meta_probing',
    title='Dynamic Evaluation of LLMs by Meta Probing Agents',
    paper='2402.14865',
    metric='accuracy on probes',
    schema=SCHEMA,
    load=load,
    prompt=_prompt,
    grade=_grade,
    aggregate=by_principle,
    cluster=lambda item: item.meta['of'],
    categories=lambda item: (
      {'category': item.meta['category']} if item.meta['category'] else {}
    ),
    max_new_tokens=256,
  )


def probe_by_rules(items: Sequence[Item], seed: int) -> list[Item]:
  """Each item as it is, then by principles 3, 4 and 5, and by all of them."""
  probed = []
  for item in items:
    others = [x for x in items if x.question != item.question] or [item]
    draw = lambda name: random.Random(f'{name}/{seed}/{item.id}')  # noqa: B023
    permuted = permute(item, draw('permuted'))
    context = add_context(item, others, draw('context'))
    foil = add_foil(item, others, draw('foil'))
    of_all = add_context(
      permute(foil, draw('permuted')), others, draw('context')
    )
    made_by_rules = (item, permuted, context, foil, of_all)
    for name, made in zip(BY_RULES, made_by_rules, strict=True):
      meta = {**made.meta, 'principle': name, 'of': item.id}
      probed.append(made._replace(id=f'{item.id}#{name}', meta=meta))
  return probed


def permute(item: Item, rng: random.Random) -> Item:
  """Principle 3: the choices in another order, never the same."""
  order = list(range(len(item.meta['choices'])))
  while order == sorted(order):
    rng.shuffle(order)
  choices = [item.meta['choices'][i] for i in order]
  answer = LETTERS[order.index(LETTERS.index(item.answer))]
  return item._replace(answer=answer, meta={**item.meta, 'choices': choices})


def add_context(item: Item, others: Sequence[Item], rng: random.Random) -> Item:
  """Principle 4: a sentence of another item, which changes no answer."""
  text = rng.choice(others).question
  question = (
    f'Elsewhere somebody asks: "{text}" Here the question is another one.\n'
    f'{item.question}'
  )
  return item._replace(question=question)


def add_foil(item: Item, others: Sequence[Item], rng: random.Random) -> Item:
  """Principle 5: another item's answer as one more wrong choice.

  It is never one of the choices; for numbers it is a number near the right one.
  """
  choices = item.meta['choices']
  gold = choices[LETTERS.index(item.answer)]
  taken = {x.strip().lower() for x in choices}
  if re.fullmatch(r'-?\d+', gold.strip()):
    foils = [str(int(gold) + d) for d in (1, -1, 2, -2, 10, 3, 4, 5, 6, 7)]
  else:
    foils = [x.meta['choices'][LETTERS.index(x.answer)] for x in others]
    rng.shuffle(foils)
  foils = [x for x in foils if x.strip().lower() not in taken]
  if not foils or len(choices) == len(LETTERS):
    return item
  return item._replace(meta={**item.meta, 'choices': [*choices, foils[0]]})


def probe(
  text: str,
  probe_fn: Callable[[str], str],
  judge_fn: Callable[[str, str], str],
  *,
  rounds: int = 1,
  tries: int = 5,
) -> str:
  """Principles 1 and 2: has a text rewritten until a judge accepts it.

  Args:
    text: the original.
    probe_fn: `text -> reply`, the new text between `<<<` and `>>>`.
    judge_fn: `(original, new) -> reply`, Yes or No between the same. It always
      sees the original, so that rounds do not drift.
    rounds: each rewrites what the one before made.
    tries: in each round; if all fail the last accepted text stays.

  Returns:
    The text that was accepted last, the original if none was.
  """
  accepted = text
  for _ in range(rounds):
    for _ in range(tries):
      new = _between(probe_fn(accepted))
      if new and _between(judge_fn(text, new)).lower() == 'yes':
        accepted = new
        break
  return accepted


def by_principle(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """Accuracy on all probes, of each principle and ability, and the drops.

  The same names always, for resamples of items; NaN where there are none.
  """
  scores: dict[str, list[float]] = {name: [] for name in BY_RULES}
  for item, row in zip(items, verdicts, strict=True):
    share = sum(v.score for v in row) / len(row)
    scores.setdefault(item.meta['principle'], []).append(share)
  mean = {name: _mean(x) for name, x in scores.items()}
  original = mean.pop('original')
  found = {'accuracy on probes': _mean(_finite(mean.values()))}
  found |= {'original': original, **mean}
  found |= {f'drop: {name}': original - x for name, x in mean.items()}
  for ability, principles in ABILITIES.items():
    of_it = [mean[name] for name in principles if name in mean]
    found[f'ability: {ability}'] = _mean(_finite(of_it))
  return found


def _finite(values: Iterable[float]) -> list[float]:
  return [x for x in values if math.isfinite(x)]


def _mean(values: Sequence[float]) -> float:
  """NaN of none."""
  return sum(values) / len(values) if values else math.nan


def ability_correlations(
  accuracies: Float[np.ndarray, 'models abilities'],
) -> tuple[
  Float[np.ndarray, 'abilities abilities'],
  Float[np.ndarray, 'abilities abilities'],
]:
  """Pearson's and Spearman's correlations of abilities across models."""
  from scipy import stats

  ranks = stats.rankdata(accuracies, axis=0)
  return np.corrcoef(accuracies.T), np.corrcoef(ranks.T)


def _prompt(item: Item) -> str:
  return (
    f'{item.question}\n{multiple_choice.listed(item.meta["choices"])}\n\n'
    'End with "Answer: " and the letter of the right option.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  found = graders.multiple_choice(
    item.answer, completion, len(item.meta['choices'])
  )
  return Verdict(found.score, found.extracted, found.detail)


def _between(text: str) -> str:
  """What stands between the delimiters; nothing if they are not there."""
  match = _OUTPUT.search(text)
  return match[1].strip() if match else ''
