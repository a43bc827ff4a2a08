"""What is special about single protocols."""

import json
import random

import numpy as np
import pytest

from ttc import benchmarks, tasks
from ttc.benchmarks.meta_critique import harmonic_mean, split_sentences
from ttc.benchmarks.meta_probing import (
  ability_correlations,
  add_foil,
  by_principle,
  permute,
  probe,
  probe_by_rules,
)
from ttc.benchmarks.ts_guessing import hide_option, hide_word, keeps
from ttc.drivers import benchmark_figures

CHOICES = ['3 red apples', 'two old boats', 'one tall tree', 'five grey cats']


def choice_item(i=0, choices=CHOICES, answer='B', question='What?'):
  meta = {'choices': list(choices), 'category': '', 'source': ''}
  return tasks.Item(f'q{i}', question, answer, meta)


def gold(item):
  return item.meta['choices']['ABCDEFGH'.index(item.answer)]


def test_macro_f1_is_not_the_harmonic_mean_of_means():
  assert harmonic_mean(2 / 3, 1 / 2) == pytest.approx(4 / 7)
  assert harmonic_mean(0.0, 1.0) == harmonic_mean(1.0, 0.0) == 0
  assert split_sentences('1. One. Two?\n- three\n..') == [
    'One.',
    'Two?',
    'three',
  ]
  made = benchmarks.find('meta_critique_match')
  rows = [(1.0, 0.5), (0.5, 1.0), (0.0, 1.0)]
  verdicts = [
    [benchmarks.Verdict(harmonic_mean(p, r), parts={'p': p, 'r': r})]
    for p, r in rows
  ]
  items = [choice_item(i) for i in range(3)]
  found = benchmark_figures.figures(
    made, benchmark_figures.Graded(items, verdicts), 10
  )
  assert found['meta-F1'].value == pytest.approx(4 / 9)
  p, r = found['p'].value, found['r'].value
  assert abs(harmonic_mean(p, r) - found['meta-F1'].value) > 0.1


def test_what_can_be_guessed_is_left_out():
  assert keeps(CHOICES, 0)
  assert not keeps([*CHOICES[:3], 'none of the above'], 0)
  assert not keeps(['yes it is', 'no it is not'], 0)
  assert not keeps(['12 3', '4 5'], 0) and not keeps(['one', 'two three'], 1)
  near = ['the old red boat here', 'the old red boat there', 'a tree of oak']
  assert not keeps(near, 0) and keeps(near, 2)
  # ROUGE-L of the two is 6/8, for the article does not count.
  assert keeps(near, 0, most_overlap=0.75)
  assert not keeps(near, 0, most_overlap=0.74)


def test_what_is_hidden_is_wrong_and_depends_on_the_item_alone():
  items = [choice_item(i, question=f'What {i}?') for i in range(40)]
  hidden = hide_option(items)
  assert {x.answer for x in hidden} == set(CHOICES) - {CHOICES[1]}
  for before, after in zip(items, hidden, strict=True):
    assert after.answer not in after.question
    assert gold(before) in after.question and '[MASK]' in after.question
  assert [x.answer for x in hide_option(items[5:9])] == [
    x.answer for x in hidden[5:9]
  ]
  words = [choice_item(question='Which rare zebra?'),
           choice_item(question='Which rare horse?')]  # fmt: skip
  assert [x.answer for x in hide_word(words)] == ['zebra', 'horse']
  (part,) = hide_word([choice_item(question='Which x_rare1 zebra of zebras?')])
  assert part.answer == 'zebra' and '[MASK] of' in part.question
  with pytest.raises(ValueError, match='of no item'):
    hide_option([choice_item(choices=['yes', 'no'], answer='A')])


def test_probes_by_rule_keep_the_answer():
  items = [
    choice_item(i, [f'{x} {i}' for x in CHOICES], 'ABCD'[i % 4], f'What {i}?')
    for i in range(30)
  ]
  probed = probe_by_rules(items, seed=3)
  assert len(probed) == 5 * len(items)
  places = []
  for i, item in enumerate(items):
    original, permuted, context, foil, both = probed[5 * i : 5 * i + 5]
    assert {gold(x) for x in (original, permuted, context, foil, both)} == {
      gold(item)
    }
    assert permuted.meta['choices'] != item.meta['choices']
    assert sorted(permuted.meta['choices']) == sorted(item.meta['choices'])
    assert item.question in context.question != item.question
    assert foil.meta['choices'][:4] == item.meta['choices']
    assert len(foil.meta['choices']) == len(set(foil.meta['choices'])) == 5
    assert len(both.meta['choices']) == 5
    places.append(permuted.answer)
  assert set(places) == set('ABCD')
  # Equal texts, at which the released permuter errs.
  twice = choice_item(choices=['same', 'same', 'x'], answer='B')
  orders = {permute(twice, random.Random(i)).answer for i in range(20)}
  assert orders == {'A', 'B', 'C'}
  number = add_foil(
    choice_item(choices=['7', '8'], answer='A'), [], random.Random(0)
  )
  assert number.meta['choices'] == ['7', '8', '6']


def test_a_model_probes_until_the_judge_agrees():
  calls = []

  def probe_fn(text):
    calls.append(text)
    return f'Here: <<<{text}+>>>'

  assert probe('a', probe_fn, lambda old, new: '<<<Yes>>>', rounds=3) == 'a+++'
  assert calls == ['a', 'a+', 'a++']
  calls.clear()
  never = lambda old, new: '<<<No>>>'
  assert probe('a', probe_fn, never, tries=5) == 'a' and len(calls) == 5
  # The judge sees the original; what it accepts last stays.
  seen = []
  judge = lambda old, new: (
    seen.append(old) or f'<<<{"Yes" if len(new) < 3 else "No"}>>>'
  )
  assert probe('a', probe_fn, judge, rounds=2, tries=2) == 'a+'
  assert set(seen) == {'a'}
  assert probe('a', lambda text: 'no delimiters', judge) == 'a'


def test_drops_and_abilities():
  principles = ('original', 'permuted', 'context', 'foil')
  items = [
    choice_item()._replace(meta={'principle': p}) for p in principles * 2
  ]
  scores = [1, 0, 1, 0.5, 1, 1, 0, 0.5]
  found = by_principle(items, [[benchmarks.Verdict(float(s))] for s in scores])
  assert found['original'] == 1 and found['drop: foil'] == 0.5
  assert found['ability: language'] == 0.5
  assert found['accuracy on probes'] == 0.5
  # One item of a resample: the same figures, of which most are not numbers.
  one = by_principle(items[:1], [[benchmarks.Verdict(1.0)]])
  assert list(one) == list(found) and one['original'] == 1
  assert np.isnan(one['accuracy on probes'])
  pearson, spearman = ability_correlations(
    np.array([[0.1, 0.2, 0.9], [0.2, 0.4, 0.5], [0.3, 0.9, 0.1]])
  )
  assert spearman[0, 1] == pytest.approx(1) and pearson[0, 1] < 1
  assert spearman[0, 2] == pytest.approx(-1)


def test_bad_choices_are_named(tmp_path):
  good = {'id': 1, 'question': 'What?', 'choices': CHOICES, 'answer': 'B'}
  for change, says in (
    ({'answer': 'E'}, "field 'answer' is 'E'; expected one of A, B, C, D"),
    ({'answer': 'AB'}, "field 'answer' is 'AB'"),
    ({'answer': 4}, "field 'answer' is 4"),
    ({'answer': True}, "field 'answer' is True"),
    ({'choices': ['a', 'a']}, 'expected different texts'),
    ({'choices': ['a']}, 'expected 2 to 26 texts'),
  ):
    path = tmp_path / 'x.jsonl'
    path.write_text(json.dumps(good | change) + '\n')
    with pytest.raises(ValueError, match='jsonl:1: ') as caught:
      benchmarks.find('meta_probing').load(path)
    assert says in str(caught.value)
