"""Functions of a file, in the prompt of a chat."""

import json

import pytest

from tests.verifiers import byte_writers
from ttc import models, search, tasks
from ttc.drivers import tool_files
from ttc.models.chat_template import ChatTemplate

pytest.importorskip('jinja2')
FUNCTION = {'name': 'add', 'parameters': {'type': 'object'}}
WRITTEN = (
  '{% for tool in tools or [] %}<{{ tool.function.name }}>{% endfor %}'
  '{% for message in messages %}{{ message.content }}{% endfor %}:'
)


def with_template(text):
  template = ChatTemplate({'default': text}, {})
  return models.Tokenizer(byte_writers.byte_level(), template=template)


@pytest.fixture
def write(tmp_path):
  def write(value):
    path = tmp_path / 'tools.json'
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path

  return write


@pytest.mark.parametrize(
  'value', [[FUNCTION], [{'type': 'function', 'function': FUNCTION}]]
)
def test_a_template_sees_the_functions(value, write):
  tools = tool_files.read(write(value))
  task = tasks.load('temporal', num_items=1)._replace(prompt=lambda item: 'hi')
  codec = with_template(WRITTEN)
  ask = lambda task: codec.decode(
    search.prompt_tokens(codec, task, task.items[0])
  )
  assert ask(task) == 'hi:'
  assert ask(task.asked('', '', tools)) == '<add>hi:'


@pytest.mark.parametrize(
  ('codec', 'says'),
  [
    (byte_writers.tokenizer(), 'layouts have neither tools'),
    (with_template('{{ messages[0].content }}'), 'template shows no tools'),
  ],
)
def test_a_chat_without_a_place_for_them_is_refused(codec, says):
  with pytest.raises(ValueError, match=says):
    codec.chat([{'role': 'user', 'content': 'hi'}], tools=[FUNCTION])


def test_a_text_to_go_on_with_has_none(write):
  task = tasks.load('addition_1digit', num_items=1)
  with pytest.raises(ValueError, match=r'tools=.*is for chats'):
    task.asked('', '', tool_files.read(write([FUNCTION])))


@pytest.mark.parametrize(
  ('value', 'says'),
  [
    ('[{]', 'tools.json:1: not JSON'),
    ({'name': 'add'}, 'expected a list of functions'),
    ([], 'expected a list of functions'),
    ([FUNCTION, {'type': 'function'}], 'function 2 has no name'),
    ([{'name': 3}], 'function 1 has no name'),
  ],
)
def test_refuses_in_one_line(value, says, write):
  with pytest.raises(ValueError, match=says) as error:
    tool_files.read(write(value))
  assert '\n' not in str(error.value)
