"""Settings of text tasks: ends at texts, answers by equivalence, turns."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling, search, tasks
from ttc.models.chat_template import ChatTemplate
from ttc.models.load import Loaded
from ttc.models.tokenizer import Tokenizer
from ttc.search.search_tree import paths
from ttc.search.text_setting import question_of, thinking_of, turn
from ttc.tasks import graders
from ttc.types import FinishReason, Generation, Prompt

METHODS = {m.name: m for m in search.METHODS}


class Pieces:
  """A vocabulary of given texts, the last of which ends a response."""

  layout = None

  def __init__(self, *texts):
    self.texts, self.eos_ids = texts, [len(texts)]

  def token_bytes(self, token_id):
    return self.texts[token_id].encode() if token_id < len(self.texts) else b''

  def decode(self, ids):
    return b''.join(map(self.token_bytes, ids)).decode()


def task_of(*golds, stop=('\n',), **changes):
  return tasks.TextTask(
    name='halves',
    items=[tasks.Item(f'{i}', '', gold, {}) for i, gold in enumerate(golds)],
    prompt=lambda item: item.question,
    stop=stop,
    max_new_tokens=8,
    grade=lambda item, text: graders.numeric(item.answer, text),
    same=graders.same_number,
  )._replace(**changes)


def loaded_of(pieces, table):
  model = models.table_model(table.shape[0])
  return Loaded(model, table, None, pieces, 'table', '')


def solver(loaded, task, method, num_samples, **options):
  """The reader of answers, and `seed -> (what was chosen, plain samples)`."""
  answers = search.TextAnswers(loaded.tokenizer, task)
  setting_fn = search.text_setting_fn(loaded, task, answers, **options)
  B = len(task.items)

  @jax.jit
  def run(keys):
    prompt = Prompt(jnp.zeros((B, 1), int), jnp.ones((B,), int))
    setting = setting_fn(loaded.params, jnp.arange(B))
    chosen = search.solve(
      method, setting, keys, prompt, num_samples, with_leaves=True
    )
    return chosen, setting.sample_fn(setting.params, keys, prompt, num_samples)

  keys = lambda seed: jax.random.split(jax.random.key(seed), B)
  return answers, lambda seed: jax.device_get(run(keys(seed)))


class TestAnswers:
  HALVES = Pieces('', '7', '1/2', '0.5', '\n')

  def table(self):
    """7 is likelier than either spelling of a half, not than both."""
    first = jnp.log(jnp.array([1e-9, 0.4, 0.3, 0.3, 1e-9, 1e-9]))
    newline = jnp.full((5, 6), -60.0).at[:, 4].set(0.0)
    return jnp.concatenate([first[None], newline])

  @pytest.mark.parametrize(
    'name',
    ['self_consistency', pytest.param('qalign', marks=pytest.mark.slow)],
  )
  def test_spellings_of_one_answer_vote_together(self, name):
    for same, said in ((graders.same_number, 0.5), (graders.same_text, 7)):
      task = task_of('1/2', '7', same=same)
      answers, run = solver(
        loaded_of(self.HALVES, self.table()),
        task,
        METHODS[name],
        200,
        sampling=sampling.SamplingParams(),
        score_of=lambda *_: lambda _, r: jnp.ones(r.lengths.shape),
      )
      chosen, _ = run(0)
      found = [answers[i, chosen.answer[i]] for i in range(2)]
      value = [7 if a.text == '7' else 0.5 for a in found]
      assert value == [said, said]
      assert [a.score for a in found] == [said == 0.5, said == 7]

  def test_the_grader_as_a_verifier_finds_what_is_right(self):
    task = task_of('0.50', '7', '3')
    loaded = loaded_of(self.HALVES, self.table())
    answers = search.TextAnswers(loaded.tokenizer, task)
    tokens = jnp.array([[[2, 4], [3, 4], [1, 4], [3, 0]]] * 3)
    lengths = jnp.array([[2, 2, 2, 1]] * 3)
    zeros = jnp.zeros(tokens.shape)
    reasons = jnp.where(lengths == 2, FinishReason.STOP, FinishReason.LENGTH)
    responses = Generation(tokens, lengths, zeros, zeros, reasons)
    prompt = Prompt(jnp.zeros((3, 1), int), jnp.ones((3,), int))
    index = jnp.arange(3)
    right = jax.jit(answers.exact_fn(index))(prompt, responses)
    np.testing.assert_array_equal(right, [[1, 1, 0, 0], [0, 0, 1, 0], [0] * 4])
    # Mapped over problems, over copies, and plain: the same numbers.
    numbers = answers.answer_fn(index)(prompt, responses)
    np.testing.assert_array_equal(numbers, [[0, 0, 1, -1]] * 3)
    of_one = lambda i, p, r: answers.answer_fn(i[None])(
      *jax.tree.map(lambda x: x[None], (p, r))
    )[0]
    mapped = jax.vmap(of_one)(index, prompt, responses)
    np.testing.assert_array_equal(mapped, numbers)
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), responses)
    mapped = jax.vmap(lambda r: answers.answer_fn(index)(prompt, r))(twice)
    np.testing.assert_array_equal(mapped, [numbers, numbers])

  def test_numbers_are_of_first_reading_until_forgotten(self):
    answers = search.TextAnswers(self.HALVES, task_of('1/2', '7'))
    assert [answers.read(0, x) for x in ('7', '.5', '1/2', 'none')] == [
      0, 1, 1, -1,
    ]  # fmt: skip
    assert answers.read(1, '1/2') == 0 and answers[1, 0].score == 0
    assert answers[0, 1].text == '.5' and answers[0, -1].text is None
    answers.forget()
    assert answers.read(0, '.5') == 0


@functools.cache
def random_texts(name, num_samples):
  """A random law over `TestEnds.PIECES`; one program for all tests."""
  table = jax.random.normal(jax.random.key(9), (8, 8)).at[:, 7].set(-3.0)
  _, run = solver(
    loaded_of(TestEnds.PIECES, table),
    task_of('1', '1', stop=(TestEnds.STOP,), max_new_tokens=12),
    METHODS[name],
    num_samples,
    delimiters=(TestEnds.DELIMITER,),
    max_steps=12,
  )
  return run


def flat(leaves):
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), leaves)


class TestEnds:
  """Texts end steps and responses, however they are split into tokens."""

  PIECES = Pieces('a', '\n', 'b\n', '\n\n', 'Q', '\nQ', 'a\n\nQ')
  STOP, DELIMITER = '\n\nQ', '\n\n'

  def texts(self, tokens):
    """What has been written up to each token."""
    return list(itertools.accumulate(self.PIECES.texts[t] for t in tokens))

  def check_end(self, tokens, reason):
    *before, whole = (
      ['']
      if not len(tokens)
      else self.texts(t for t in tokens if t < 7) or ['']
    )
    assert not any(self.STOP in text for text in before)
    if reason == FinishReason.STOP:
      assert self.STOP in whole or tokens[-1] == 7
    else:
      assert self.STOP not in whole

  @pytest.mark.parametrize(
    'name',
    [
      'dvts',
      pytest.param('mcts', marks=pytest.mark.slow),
      pytest.param('qalign', marks=pytest.mark.slow),
    ],
  )
  def test_a_stop_text_ends_a_response_across_steps_and_cuts(self, name):
    spanning = 0
    for seed in range(3):
      chosen, _ = random_texts(name, 8)(seed)
      leaves = flat(chosen.leaves)
      for k in np.flatnonzero(leaves.finish_reasons != FinishReason.CANCELLED):
        tokens = leaves.tokens[k, : leaves.lengths[k]].tolist()
        self.check_end(tokens, leaves.finish_reasons[k])
        spanning += len(tokens) > 1 and tokens[-1] in (4, 5)
    assert spanning > 3  # stop texts that begin in an earlier token

  def test_steps_end_where_a_delimiter_does(self):
    chosen, _ = random_texts('dvts', 8)(0)
    leaves = flat(chosen.leaves)
    for k in range(leaves.lengths.size):
      texts = self.texts(
        t for t in leaves.tokens[k, : leaves.lengths[k]] if t < 7
      )
      count = lambda text: sum(
        text.startswith(self.DELIMITER, i) for i in range(len(text))
      )
      totals = [0, *map(count, texts)]
      wanted = [i for i, n in enumerate(totals) if i and n > totals[i - 1]]
      wanted = sorted({*wanted, int(leaves.lengths[k])})
      got = leaves.ends[k][leaves.nodes[k] >= 0].tolist()
      assert got == wanted

  def test_one_step_after_another_is_plain_sampling(self):
    """One beam is one sample, so cuts into steps change nothing."""
    for seed in range(4):
      chosen, plain = random_texts('beam_search', 1)(seed)
      for name in ('tokens', 'lengths', 'finish_reasons'):
        got, want = getattr(chosen.leaves, name), getattr(plain, name)
        np.testing.assert_array_equal(got, want)


class TestLeaves:
  def test_paths_lead_down_from_the_root(self):
    parents = jnp.array([-1, 0, 0, 1, 3, -1])
    wanted = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 3, 0], [1, 3, 4], [5, 0, 0]]
    np.testing.assert_array_equal(paths(parents, 3), wanted)

  @pytest.mark.parametrize(
    'name', ['dvts', pytest.param('mcts', marks=pytest.mark.slow)]
  )
  def test_leaves_share_what_their_common_steps_wrote(self, name):
    kept = spent = 0
    for seed in range(4):
      chosen, _ = random_texts(name, 8)(seed)
      for b in range(2):
        leaves = jax.tree.map(lambda x, b=b: x[b], chosen.leaves)
        kept += self.tokens_of_steps(leaves)
        spent += chosen.tokens[b]
    if name == 'mcts':  # nothing is discarded
      assert kept == spent
    else:
      assert 0 < kept < spent

  def tokens_of_steps(self, leaves):
    """Of all different steps, each counted once."""
    written = {}
    real = leaves.finish_reasons != FinishReason.CANCELLED
    for k in np.flatnonzero(real | (leaves.lengths > 0)):
      parent, begin = -1, 0
      for node, score, end in zip(
        leaves.nodes[k], leaves.scores[k], leaves.ends[k], strict=True
      ):
        if node >= 0:
          step = parent, begin, tuple(leaves.tokens[k, :end]), float(score)
          assert written.setdefault(int(node), step) == step
          last, parent, begin = parent, int(node), int(end)
      assert leaves.parents[k] == last and begin <= leaves.lengths[k]
    return sum(len(text) - begin for _, begin, text, _ in written.values())


class TestTurns:
  def tokenizer(self, layout, *more):
    tokenizers = pytest.importorskip('tokenizers')
    from tokenizers import decoders, pre_tokenizers
    from tokenizers import models as kinds

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(
      kinds.BPE({letter: i for i, letter in enumerate(letters)}, [])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(
      add_prefix_space=False, use_regex=False
    )
    backend.decoder = decoders.ByteLevel()
    layout = models.CHAT_LAYOUTS[layout]
    named = (*layout.start, *layout.message, *layout.reply)
    backend.add_special_tokens([p for p in named if p.startswith('<|')])
    backend.add_tokens(list(more))
    return Tokenizer(backend, layout=layout)

  @pytest.mark.parametrize('layout', ['chatml', 'smollm2', 'llama3'])
  def test_a_turn_behind_a_reply_is_that_of_the_whole_chat(self, layout):
    tokenizer = self.tokenizer(layout)
    say = lambda role, content: {'role': role, 'content': content}
    asked, reply, again = (
      say('user', 'Q?'),
      say('assistant', 'A.'),
      'Once more.',
    )
    end = tokenizer.encode(
      '<|eot_id|>' if layout == 'llama3' else '<|im_end|>', allow_special=True
    )
    piecewise = [
      *tokenizer.chat([asked]),
      *tokenizer.encode('A.'),
      *end,
      *turn(tokenizer, again),
    ]
    assert piecewise == tokenizer.chat([asked, reply, say('user', again)])

  @pytest.mark.parametrize('layout', ['chatml', 'smollm2', 'llama3'])
  def test_a_system_message_stands_before_and_a_prefill_behind(self, layout):
    tokenizer, item = (
      self.tokenizer(layout, '<think>'),
      tasks.Item('', 'Q?', '', {}),
    )
    plain = task_of('1', is_chat=True)
    task = plain.asked('Be brief.', '<think>\n')
    say = lambda role, content: {'role': role, 'content': content}
    chat = tokenizer.chat([say('system', 'Be brief.'), say('user', 'Q?')])
    think = tokenizer.encode('<think>\n')
    assert len(think) == 2
    assert search.prompt_tokens(tokenizer, task, item) == chat + think
    alone = search.prompt_tokens(tokenizer, plain, item)
    assert alone == tokenizer.chat([say('user', 'Q?')]) != chat
    for text in {'system': 'Be brief.'}, {'prefill': '<think>'}:
      with pytest.raises(ValueError, match='is for chats, and halves is'):
        task_of('1').asked(**{'system': '', 'prefill': '', **text})

  def test_a_prefill_is_behind_what_asks_for_a_reply(self):
    pytest.importorskip('jinja2')
    layout = self.tokenizer('chatml', '<think>')
    # As Qwen3's, which writes a reply that is given with a thought before it.
    template = ChatTemplate(
      {
        'default': '{% for m in messages %}<|im_start|>{{ m.role }}\n'
        "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        '{{ m.content }}<|im_end|>\n{% endfor %}'
        '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
      },
      {},
    )
    tokenizer = Tokenizer(layout._backend, template=template)
    task = task_of('1', is_chat=True).asked('', '<think>\n')
    ids = search.prompt_tokens(tokenizer, task, tasks.Item('', 'Q?', '', {}))
    wanted = '<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\n<think>\n'
    assert ids == tokenizer.encode(wanted, allow_special=True)

  def test_verdicts_must_be_tokens(self):
    assert question_of(self.tokenizer('chatml')) is None
    tokenizer = self.tokenizer('chatml', 'Yes', 'No')
    question = question_of(tokenizer)
    assert tokenizer.decode([question.yes_id, question.no_id]) == 'YesNo'

  def test_thinking_ends_at_its_delimiter_or_with_the_reply(self):
    tokenizer = self.tokenizer('chatml')
    end = tokenizer.encode('<|im_end|>', allow_special=True)
    thinking = thinking_of(tokenizer, 100)
    assert [thinking.end_id] == thinking.end == end
    assert thinking.answer_tokens == 0
    tokenizer = self.tokenizer('chatml', '</think>')
    thinking = thinking_of(tokenizer, 100)
    assert tokenizer.decode([thinking.end_id]) == '</think>'
    assert thinking.answer_tokens == 25

  def test_a_text_to_go_on_with_has_no_turns(self):
    pieces, table = TestAnswers.HALVES, TestAnswers().table()
    loaded, task = loaded_of(pieces, table), task_of('1')
    answers = search.TextAnswers(pieces, task)
    setting = search.text_setting_fn(loaded, task, answers)(
      table, jnp.arange(1)
    )
    served = {m.name for m in search.METHODS if m.decode and setting.serves(m)}
    assert served == {
      'beam_search', 'dvts', 'first_finish_search', 'lookahead_search', 'mcts',
      'qalign', 'quest',
    }  # fmt: skip
    with pytest.raises(ValueError, match='has no tokenizer'):
      search.text_setting_fn(loaded._replace(tokenizer=None), task, answers)
    with pytest.raises(ValueError, match='a character each'):
      search.text_setting_fn(loaded, task, answers, delimiters=('',))
