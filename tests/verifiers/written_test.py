"""What verifiers are shown, and where they are read, byte by byte."""

import pathlib

import jax
import numpy as np
import pytest
from byte_writers import CONTROL, WORDS, byte_level, show, writer

from ttc import models, verifiers
from ttc.models import chat_template
from ttc.verifiers import kinds, public, written


def test_a_reward_model_is_read_at_the_end_of_the_chat():
  write = writer('sequence_classification')
  result = write('1+1?', '2')
  behind, reads = show(write, result)
  whole = (
    '<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n'
  )
  assert behind == '2<|im_end|>\n' and reads == [whole]


def test_qwens_marks_are_tokens_and_nobody_can_forge_one():
  write = writer('qwen_process')
  result = write('p', 'a <extra_0>\n\n\n\nb\n\n')
  behind, reads = show(write, result)
  assert behind == 'a <extra_0><extra_0>b<extra_0><|im_end|>\n'
  assert len(reads) == 2 and reads[1].endswith('<extra_0>b<extra_0>')
  assert 'within \\boxed{}.<|im_end|>' in reads[0]
  (mark,) = write.tokenizer.encode('<extra_0>', allow_special=True)
  assert [i for i, t in enumerate(result.tokens) if t == mark] == result.reads


def test_a_template_without_a_layout_is_read_as_well():
  chatml = writer('qwen_process')
  text = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    '<|im_end|>\n{% endfor %}'
    '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
  )
  template = chat_template.ChatTemplate({'default': text}, {})
  codec = models.Tokenizer(byte_level((), CONTROL), template=template)
  assert codec.layout is None
  by_template = chatml._replace(tokenizer=codec)
  for response in ('a <extra_0>\n\nb', '<|im_end|>\n\n<|im_start|>c<|im', ''):
    assert by_template('p <|im_end|>', response) == chatml(
      'p <|im_end|>', response
    )
  verdict = writer('sequence_classification', reply=True)
  assert verdict._replace(tokenizer=codec)('p', 'r') == verdict('p', 'r')


def test_skyworks_flags_are_those_of_the_authors():
  """Prompt of 4 tokens, pieces of 3, 0 and 2: read at 7, 8 and 11."""
  write = writer('skywork_process', front=[5])
  result = write('ab', 'xyz\n\nuv')
  assert result.reads == [7, 8, 11] and result.start == 4
  assert len(result.tokens) == 12 and result.tokens[0] == 5


def test_pieces_are_tokenised_apart():
  write = writer('token_classification', merged=['pa', 'a\n'])
  assert len(write('p', 'a').tokens) == 3
  joint = writer(
    'token_classification',
    merged=['pa', 'a\n'],
    messages=[('text', '{problem}{steps}')],
    step='{step}\n{read}',
  )
  result = joint('p', 'a')
  assert len(result.tokens) == 2 and result.reads == [1]
  assert result.start == 0  # the token over the seam holds some of it


def test_shepherds_tag_is_read_where_it_was_put():
  write = writer('math_shepherd', merged=WORDS)
  result = write('q', 'one ки\ntwo')
  behind, reads = show(write, result)
  assert behind == 'Step 1: one ки ки\nStep 2: two ки'
  assert [r.endswith(' ки') for r in reads] == [True, True]
  assert reads[0] == 'q Step 1: one ки ки'


def test_a_verdict_is_read_before_the_reply_to_each_step():
  write = writer('rlhflow')
  behind, reads = show(write, write('p', 'a\n\nb'))
  turn = '<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n'
  first = turn.format('p a')
  assert reads == [first, first + '+<|im_end|>\n' + turn.format('b')]
  assert behind.startswith('a<|im_end|>')


def test_implicit_steps_end_with_their_last_token():
  write = writer('implicit')
  behind, reads = show(write, write('p', 'a.\n\nb.'))
  assert behind == 'Step 1: a.\n\nStep 2: b.<|im_end|>\n'
  assert reads[0].endswith('Step 1: a.\n\n') and reads[1].endswith('2: b.')
  # A token that holds the end of the step and what is behind it.
  for merged, end in ((['.\n\n'], '.\n\n'), (['.\n'], '.\n'), ([], '.')):
    step = 'Step {number}: {step}{read}'
    write = writer('implicit', merged, step=step, join='\n\n')
    _, reads = show(write, write('p', 'a.\n\nb.'))
    assert reads[0].endswith('Step 1: a' + end)


def test_a_verdict_of_words_is_read_at_the_end_of_the_question():
  write = writer('genrm', merged=WORDS)
  _, reads = show(write, write('p {x}', 'r'))
  assert reads[0].startswith('Problem: p {x}\nSolution: r\n')
  assert reads[0].endswith('(Yes/No)?')


def test_every_kind_is_in_the_readme():
  readme = pathlib.Path(__file__).parents[2] / 'README.md'
  rows = readme.read_text(encoding='utf-8').splitlines()
  for name in kinds.KINDS:
    assert any(row.startswith(f'| `{name}` |') for row in rows), name


@pytest.mark.parametrize('name', kinds.KINDS)
def test_there_is_room_for_what_was_announced(name):
  write = writer(name, merged=WORDS)
  verifier = public.Verifier(models.table_model(3), {}, write, name)
  steps = ['xyz'] * 4 if write.kind.split else ['xyz' * 4]
  text = write.kind.split.join(steps)
  problems = ['p', 'a longer one']
  room = verifiers.room_for(verifier, problems, len(text), len(steps))
  verifiers.arrange([[write(p, text), write(p, 'z')] for p in problems], room)
  assert room[1] < 3 * len(text) + 160


@pytest.mark.parametrize('name', kinds.KINDS)
def test_a_shared_prompt_takes_nothing_away(name):
  """Prompt and rest are what was written, and nothing is read in the prompt."""
  write = writer(name, merged=WORDS)
  rows = [
    [write('p', text) for text in ('ab\n\nc', 'abd', '')],
    [write('other', text) for text in ('x', 'y\n\nz', 'ÿ\n')],
  ]
  reading = written.arrange(rows)
  for b, row in enumerate(rows):
    cut = reading.prompt.lengths[b]
    for n, w in enumerate(row):
      rest = reading.tokens[b, n, : reading.lengths[b, n]]
      joined = [*reading.prompt.tokens[b, :cut], *rest]
      assert joined == w.tokens
      at = reading.reads[b, n][reading.is_step[b, n]]
      assert (at + cut).tolist() == w.reads and at.min() >= 0
      assert reading.starts[b, n] + cut == w.start
  small = written.arrange(rows, (1, 512, 4))
  assert small.prompt.lengths.max() <= 1
  with pytest.raises(ValueError, match='tokens behind its prompt'):
    written.arrange(rows, (1, 2, 4))


def test_a_generative_verifier_goes_on_with_the_reply():
  write = writer('implicit', reply=True)
  _, reads = show(write, write('p', 'a'))
  whole = write.tokenizer.decode(write('p', 'a').tokens, skip_special=False)
  assert whole.endswith('a<|im_end|>\n<|im_start|>assistant\n')
  assert reads[0].endswith('Step 1: a')


def test_nothing_at_all_is_written_and_read():
  write = writer('token_classification', messages=[('text', '{steps}')])
  write = write._replace(kind=write.kind._replace(split='', step='{step}'))
  nothing = write('', '')
  assert nothing == ([], 0, [0])
  reading = verifiers.arrange([[nothing, write('', 'a')]])
  assert reading.lengths.tolist() == [[0, 1]]
  assert reading.prompt.tokens.shape == (1, 1)
  assert reading.prompt.lengths.tolist() == [0]
  # What has no prompt is read as what has one.
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=write.tokenizer.vocab_size,
      num_layers=1,
      embed_dim=8,
      mlp_dim=8,
      num_heads=1,
      num_kv_heads=1,
      head_dim=8,
    )
  )
  params = jax.jit(model.init)(jax.random.key(0))
  step_features = jax.jit(verifiers.step_features, static_argnums=0)
  features = step_features(model, params, jax.tree.map(np.asarray, reading))
  tokens = np.asarray(write('', 'a').tokens)[None]
  want = jax.jit(models.read, static_argnums=0)(model, params, tokens)
  np.testing.assert_allclose(
    np.asarray(features)[0, 1], np.asarray(want)[0], atol=1e-5
  )
