"""What the base of Timo's bed reads, and what a critic that knows says."""

import random

import numpy as np

from ttc import finetuning
from ttc.testbeds import temporal_questions as bed

ITEMS = bed.draw_items('test', 60, tuple(bed.DRAWS))


def test_points_are_those_of_the_rubrics():
  for item in ITEMS:
    working = bed.to_words(' '.join(item.meta['working']))
    right = bed.gold(item)
    other = next(x for x in item.meta['options'] if x != right)
    assert bed.points(item, bed.respond(working, right)) == (5, 5)
    assert bed.points(item, bed.respond(working, other)) == (4, 5)
    assert bed.points(item, bed.respond([], right)) == (2, 1)
    assert bed.points(item, bed.respond([], other)) == (1, 1)
    assert bed.points(item, ' '.join(working)) == (0, 0)  # no last line


def test_words_can_be_read_back():
  for item in ITEMS:
    said = bed.respond(item.meta['working'], bed.gold(item))
    words = bed.to_words(said)
    assert bed.LINE in words and set(words) <= set(bed.vocabulary())
    assert bed.chosen(item, bed.to_text(words)) == bed.gold(item)
    assert len(bed.asked(item)) <= bed.QUESTION_ROOM
    assert len(words) < bed.ANSWER_ROOM


def test_the_corpus_holds_guesses_slips_and_judgements():
  source = random.Random(0)
  said = [(item, bed.imitate(source, item)) for item in ITEMS * 10]
  guesses = [(i, s) for i, s in said if s.startswith('The answer')]
  right = [bed.chosen(i, s) == bed.gold(i) for i, s in guesses]
  assert abs(len(guesses) / len(said) - bed.CARELESS) < 0.07
  assert abs(np.mean(right) - bed.LUCK) < 0.1
  none = [bed.chosen(i, s) is None for i, s in said]
  assert 0 < np.mean(none) < 0.1
  tokens, learned = bed.corpus(0, 600)
  words = np.array(bed.vocabulary())[tokens]
  assert tokens.shape[1] == bed.config().max_length
  for rubric in bed.RUBRICS:
    rows, at = np.nonzero(words == rubric)
    assert abs(len(rows) / 600 - 1 / 6) < 0.05
    scores = words[rows, at + 1]
    assert {int(x) for x in scores} <= set(range(finetuning.MOST_POINTS + 1))
    assert (learned[rows].sum(axis=1) == 1).all()


def test_seeds_have_questions_of_their_own():
  assert bed.draw_items('a', 9)[:5] == bed.draw_items('a', 5)
  assert bed.draw_items('a', 9) != bed.draw_items('b', 9)
