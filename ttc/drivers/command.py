"""How a script begins and ends: flags, one line for an error, Ctrl-C.

  if __name__ == '__main__':
    command.run('evaluate', main, resumes=True)

Whatever a user can get wrong ends in `evaluate: what is wrong` on standard
error and exit status 1; an interrupt ends the process at once, wherever it is,
with status 130. That is safe since everything on disk is (`ttc.io.files`). A
training that is told to stop (SIGTERM) saves what it has reached and ends with
status 75, for a queue the sign to start it again (`ttc.drivers.resuming`).
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

Number = TypeVar('Number', int, float)

# What bad input raises. Anything else is a fault of ours, with a traceback.
BAD_INPUT = (ValueError, OSError, ImportError)
INTERRUPTED = 130
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: try again


class Stopped(Exception):
  """A run was told to stop and has saved what it reached."""


def define_config(default: os.PathLike[str] | str) -> flags.FlagHolder:
  """Defines --config with a default file.

  A default of the flag itself would be read while it is defined, together with
  all that the command line says of it, and errors would be tracebacks.
  """
  _defaults.append(os.fspath(default))
  holder = config_flags.DEFINE_config_file(
    'config',
    None,
    f'File of the configuration; by default {default}.',
    lock_config=True,
  )
  show_in_help('config')
  return holder


def numbers(
  flag: flags.FlagHolder, kind: Callable[[str], Number]
) -> tuple[Number, ...]:
  """The numbers of a flag that is a list.

  Args:
    flag: of the command line.
    kind: `int` or `float`.

  Raises:
    ValueError: naming the flag and what is no number.
  """
  values = []
  for text in flag.value:
    try:
      values.append(kind(text))
    except ValueError:
      what = 'whole numbers' if kind is int else 'numbers'
      raise ValueError(
        f'--{flag.name}={",".join(flag.value)} must be {what}, not {text!r}'
      ) from None
  return tuple(values)


def show_in_help(*names: str) -> None:
  """Lists flags in --help that were not defined in the script itself."""
  for name in names:
    flag = flags.FLAGS[name]
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def forget_config() -> None:
  """Undoes `define_config`, for tests that load several scripts."""
  _defaults.clear()


_defaults: list[str] = []  # of --config, once it is defined


def run(
  name: str,
  main: Callable[[], object],
  *,
  resumes: bool = False,
  cache: bool = True,
) -> None:
  """Runs a script and exits.

  Args:
    name: of the script, without `.py`.
    main: without arguments; flags are parsed by then. What it returns, if
      anything, is a message of failure: it is printed and the status is 1.
    resumes: whether the same command goes on after an interrupt.
    cache: whether to keep compiled programs on disk.
  """

  def checked(argv):
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    logging.get_absl_logger().addFilter(_is_news)
    check_arguments(name, argv)
    exit_at_once(name, resumes=resumes)
    if cache:
      from ttc import io

      io.enable_compilation_cache()
    try:
      failure = main()
    except BAD_INPUT as error:
      sys.exit(f'{name}: {one_line(error)}')
    except Stopped as stop:
      message = f'\n{name}: {stop}; the same command goes on from here'
      print(message, file=sys.stderr)
      sys.exit(STOPPED)
    if failure:
      sys.exit(f'{name}: {failure}')

  app.run(checked, flags_parser=lambda argv: parse_flags(name, argv))


def _is_news(record: Any) -> bool:
  """Not what Orbax logs of errors: it raises them too, later."""
  return record.exc_info is None or 'orbax' not in record.pathname


def parse_flags(name: str, argv: list[str]) -> list[str]:
  """Parses flags; what cannot be read is one line and exit status 1."""
  if hint := _misplaced(argv):
    sys.exit(f'{name}: {hint}')
  try:
    return flags.FLAGS(_config_first(argv))
  except SyntaxError as error:
    where = f'{error.filename}:{error.lineno}'
    sys.exit(f'{name}: {where}: not Python: {error.msg}')
  except (flags.Error, AttributeError, KeyError) as error:
    sys.exit(f'{name}: {one_line(error)}; see --help')
  except Exception as error:  # a config file runs any code
    kind = type(error).__name__
    sys.exit(f'{name}: --config raises {kind}: {one_line(error)}')


def check_arguments(name: str, argv: list[str]) -> None:
  """Exits if something is left that is no flag."""
  if len(argv) > 1:
    sys.exit(f'{name}: unexpected argument {argv[1]!r}')


def one_line(error: BaseException) -> str:
  """The message of an error without line breaks; its kind if it has none."""
  while error.args and isinstance(error.args[0], BaseException):
    error = error.args[0]
  parts = error.args if isinstance(error, KeyError) else (error,)
  message = ' '.join(' '.join(str(part).split()) for part in parts)
  return message or type(error).__name__


def exit_at_once(name: str, *, resumes: bool) -> None:
  """Ends the process at the first SIGINT, also inside a compiled program.

  An exception would wait for the program to end, and is lost where it is raised
  inside a callback. A thread is told by the C-level handler instead.
  """
  if threading.current_thread() is not threading.main_thread():
    return
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.signal(signal.SIGINT, lambda *_: None)
  signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  end = '; the same command goes on from here' if resumes else ''

  def wait():
    while os.read(reader, 1)[0] != signal.SIGINT:
      pass
    message = f'\n{name}: interrupted{end}\n'
    os.write(2, message.encode())
    os._exit(INTERRUPTED)

  threading.Thread(target=wait, daemon=True).start()


def _config_first(argv: list[str]) -> list[str]:
  """Puts the file of the configuration before the changes to it."""
  if not _defaults:
    return argv
  program, *rest = argv
  found = [x for x in rest if x.startswith('--config=')]
  if '--config' in rest[:-1]:
    at = rest.index('--config')
    found.append(f'--config={rest[at + 1]}')
    rest = rest[:at] + rest[at + 2 :]
  rest = [x for x in rest if not x.startswith('--config=')]
  return [program, *(found or [f'--config={_defaults[0]}'])[-1:], *rest]


def _misplaced(argv: list[str]) -> str | None:
  """What absl would read otherwise, or say at length."""
  for argument in argv[1:]:
    if argument == '--':
      return None
    flag, equals, value = argument.partition('=')
    if equals and flag in ('--workdir', '--config') and not value.strip():
      return f'{flag}= must not be empty'
    path = value.split(':')[0]
    if equals and flag == '--config' and not os.path.isfile(path):
      return f'{argument}: no such file'
  return None
