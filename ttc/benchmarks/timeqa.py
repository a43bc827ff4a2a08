r"""TimeQA: questions whose answers depend on when (2108.06314).

Chen et al., "A Dataset for Answering Time-Sensitive Questions". A passage of
Wikipedia and a question with a time; `targets == ['']` says that the passage
does not tell. Scores are those of SQuAD: exact match and F1 of tokens, the best
over the targets. The released scorer averages over the predictions it finds; we
count a missing one as 0 and report the coverage. The empty answer must be said,
as "unanswerable". Published: 46% by fusion in decoder, 87% by people.
"""

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_overlap import exact_match, token_f1
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('idx'),  # '/wiki/Knox_Cunningham#P39#0'
  Field('question'),
  Field('context'),
  Field('targets', list, of=str),
  Field('paragraphs', list, of=dict, optional=True),  # for fusion in decoder
)
UNANSWERABLE = 'unanswerable'


def timeqa(*, official: bool = False) -> Benchmark:
  """Makes the benchmark; a cluster is what was asked of one entity.

  Args:
    official: who says nothing gives the empty answer.
  """
  return Benchmark(
    name='timeqa',
    title='A Dataset for Answering Time-Sensitive Questions',
    paper='2108.06314',
    metric='exact match',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=lambda item, completion, judge: _grade(item, completion, official),
    cluster=lambda item: item.id.split('#')[0],
    categories=lambda item: {'answerable': 'yes' if item.answer else 'no'},
    max_new_tokens=64,
  )


def _to_item(record: Record) -> Item:
  targets = record['targets']
  if not targets:
    raise ValueError(
      "field 'targets' is []; expected answers, or [''] for none"
    )
  meta = {'targets': targets, 'context': record['context']}
  return Item(record['idx'], record['question'], targets[0], meta)


def _prompt(item: Item) -> str:
  return (
    f'{item.meta["context"]}\n\nQuestion: {item.question}\nAnswer with a short '
    f'span of the text above, or with "{UNANSWERABLE}" if it does not tell.'
  )


def _grade(item: Item, completion: str, official: bool) -> Verdict:
  said = reply(completion).strip()
  targets = item.meta['targets']
  if said.lower().strip(' ."') == UNANSWERABLE:
    said = ''
  elif not official:
    if not said:
      return Verdict(0.0, None, 'nothing said', {'F1': 0.0})
    targets = [target for target in targets if target]
  exact = max((exact_match(x, said) for x in targets), default=0.0)
  f1 = max((token_f1(x, said) for x in targets), default=0.0)
  return Verdict(exact, said, 'squad', {'F1': f1})
