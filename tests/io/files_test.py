"""Files that a kill, a full disk or a second process cannot spoil."""

import errno
import math
import multiprocessing
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest

from ttc.io import files

_ON_A_FULL_DISK = """
import pathlib, re, sys
from ttc.io import files

disk = pathlib.Path(sys.argv[1])
path, other = disk / 'lines', disk / 'whole'

def refused(path, write, *args):
  try:
    write(*args)
  except OSError as error:
    assert re.search(f'No space left.*{path}', str(error)), error
    return True

files.write_atomically(other, 'old')
(disk / 'filler').write_bytes(b'x' * 20_000)
written = 0
while not refused(path, files.append_lines, path, [f'{written} ' + 'y' * 999]):
  written += 1
assert refused(other, files.write_atomically, other, 'new' * 1000)
assert other.read_text() == 'old'
held = files.lock_directory(disk)
assert refused(disk / '.lock', held.__enter__)
(disk / 'filler').unlink()
assert len(files.read_lines(path)) == written > 10
files.append_lines(path, ['last'])
assert len(files.read_lines(path)) == written + 1
"""


def _hold(directory, held, release):
  with files.lock_directory(directory):
    held.set()
    release.wait(30)


class FilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    directory = self.enter_context(tempfile.TemporaryDirectory())
    self.directory = pathlib.Path(directory)
    self.path = self.directory / 'new' / 'file.txt'

  def test_a_file_is_the_old_or_the_new_one(self):
    files.write_atomically(self.path, 'old')
    for name in ('fsync', 'replace'):
      where = 'os.fsync' if name == 'fsync' else 'pathlib.Path.replace'
      full = OSError(errno.ENOSPC, 'No space left on device')
      with mock.patch(where, side_effect=full):
        with self.assertRaisesRegex(OSError, r'No space left.*file\.txt'):
          files.write_atomically(self.path, 'new')
      self.assertEqual(self.path.read_text(), 'old')
      self.assertLen(list(self.path.parent.iterdir()), 1)
    files.write_atomically(self.path, b'new')
    self.assertEqual(self.path.read_text(), 'new')

  def test_a_torn_line_is_dropped_at_any_cut(self):
    files.append_lines(self.path, ['first', 'zweite √'])
    whole = self.path.read_bytes()
    for cut in range(len(whole) + 1):
      self.path.write_bytes(whole[:cut])
      kept = files.read_lines(self.path)
      files.append_lines(self.path, ['last'])
      self.assertEqual(files.read_lines(self.path), [*kept, 'last'])
      self.assertLen(kept, whole[:cut].count(b'\n'))

  def test_a_long_torn_line_is_dropped(self):
    files.append_lines(self.path, ['a'])
    with self.path.open('ab') as file:
      file.write(b'x' * 10_000)
    files.append_lines(self.path, ['b'])
    self.assertEqual(files.read_lines(self.path), ['a', 'b'])

  def test_on_a_disk_that_is_full(self):
    disk = self.directory / 'disk'
    disk.mkdir()
    command = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c']
    mount = f'mount -t tmpfs -o size=64k tmpfs {disk} &&'
    if (
      not shutil.which('unshare')
      or subprocess.run(
        [*command, f'{mount} true'], capture_output=True
      ).returncode
    ):
      self.skipTest('no disk can be made here')
    program = f'exec {sys.executable} -c {shlex.quote(_ON_A_FULL_DISK)} {disk}'
    done = subprocess.run(
      [*command, f'{mount} {program}'], capture_output=True, text=True
    )
    self.assertEqual(done.returncode, 0, done.stderr[-2000:])

  def test_a_directory_has_one_writer_until_it_ends(self):
    context = multiprocessing.get_context('fork')
    held, release = context.Event(), context.Event()
    other = context.Process(
      target=_hold, args=(self.directory, held, release), daemon=True
    )
    other.start()
    self.assertTrue(held.wait(30))
    message = f'in use by process {other.pid}'
    with self.assertRaisesRegex(ValueError, message):
      with files.lock_directory(self.directory):
        pass
    os.kill(other.pid, 9)
    other.join()
    with files.lock_directory(self.directory):
      pass

  def test_json_is_strict(self):
    value = {'b': [1.5, math.nan, math.inf], 'a': {'x': -math.inf}}
    text = files.to_json(value)
    self.assertEqual(
      text, '{"a": {"x": "-Infinity"}, "b": [1.5, "NaN", "Infinity"]}'
    )

  def test_a_digest_tells_names_and_contents(self):
    for name, text in (('a', '1'), ('b', '2')):
      files.write_atomically(self.directory / 'd' / name, text)
    first = files.digest(self.directory / 'd')
    (self.directory / 'd' / 'b').rename(self.directory / 'd' / 'c')
    self.assertNotEqual(files.digest(self.directory / 'd'), first)


if __name__ == '__main__':
  absltest.main()
