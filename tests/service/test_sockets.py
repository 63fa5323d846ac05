"""The socket of a run's service: answers, errors, long paths, and no service."""

import socket
import threading

import pytest

from autoresearch_jax.service.sockets import SOCKET, answering, ask


def echo(request):
  if 'bad' in request:
    raise ValueError('That is bad.')
  return request


def test_it_answers_each_request_and_leaves_no_file(tmp_path):
  with answering(tmp_path, echo):
    assert ask(tmp_path, {'n': 1}, 10) == b'{"n":1}\n'
    assert ask(tmp_path, {'bad': 1}, 10) == b'{"error":"That is bad."}\n'
    assert (tmp_path / SOCKET).stat().st_mode & 0o077 == 0  # only the user may connect
  assert not (tmp_path / SOCKET).exists()
  assert ask(tmp_path, {'n': 1}, 10) is None


def test_a_socket_that_a_killed_process_left_is_no_service(tmp_path):
  (tmp_path / SOCKET).touch()
  assert ask(tmp_path, {'n': 1}, 10) is None
  with answering(tmp_path, echo):
    assert ask(tmp_path, {}, 10) == b'{}\n'


def test_a_path_may_be_longer_than_an_address(tmp_path):
  folder = tmp_path / ('deep' * 40) / ('er' * 60)
  assert ask(folder, {}, 10) is None
  folder.mkdir(parents=True)
  with answering(folder, echo):
    assert ask(folder, {'n': 2}, 10) == b'{"n":2}\n'


def test_requests_do_not_wait_for_one_another(tmp_path):
  release, entered = threading.Event(), threading.Event()

  def slow(request):
    if 'slow' in request:
      entered.set()
      release.wait(60)
    return request

  with answering(tmp_path, slow):
    thread = threading.Thread(target=ask, args=(tmp_path, {'slow': 1}, 60))
    thread.start()
    assert entered.wait(60)
    assert ask(tmp_path, {'n': 3}, 60) == b'{"n":3}\n'
    release.set()
    thread.join()


@pytest.mark.parametrize('line', [b'\n', b'[1]\n', b'{"a"\n', b'\xff\n', b'{"a": 1'])
def test_what_is_no_request_is_answered_with_an_error(tmp_path, line):
  with answering(tmp_path, echo), socket.socket(socket.AF_UNIX) as client:
    client.connect(str(tmp_path / SOCKET))
    client.sendall(line)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1000).startswith(b'{"error"')
