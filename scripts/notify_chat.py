"""Tells a chat what happens in a run: a hook that posts to an incoming webhook.

CHAT_WEBHOOK_URL=https://hooks.slack.com/services/... autoresearch run --config=digits \
  --config.hooks.kept='python scripts/notify_chat.py' \
  --config.hooks.ended='python scripts/notify_chat.py'

It reads the event as JSON from standard input and posts {"text": ...}, which Slack, Mattermost,
Rocket.Chat, Google Chat and others accept.
"""

import json
import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 20


def message(event: dict) -> str:
  """Returns one or two lines about an event."""
  run, metric, trial = event['run'], event['metric'], event['trial']
  best = ''
  if event['best_value'] is not None:
    best = f' Best {metric}: {event["best_value"]:.6g} (trial {event["best"]}).'
  if trial is not None:
    value = '' if trial['value'] is None else f', {metric} {trial["value"]:.6g}'
    return f'{run}: trial {trial["id"]} {event["event"]}{value}. {trial["description"]}.{best}'
  return f'{run} {event["event"]}. {event["text"]}{best}'


def main() -> int:
  """Posts the event on standard input; returns the exit code."""
  url = os.environ.get('CHAT_WEBHOOK_URL', '')
  if not url.startswith(('http://', 'https://')):
    print('Set CHAT_WEBHOOK_URL to the URL of an incoming webhook.', file=sys.stderr)
    return 2
  body = json.dumps({'text': message(json.load(sys.stdin))}).encode()
  request = urllib.request.Request(url, body, {'Content-Type': 'application/json'})
  try:
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
      return 0
  except urllib.error.HTTPError as error:
    print(f'The chat answered {error.code} {error.reason}.', file=sys.stderr)
  except (urllib.error.URLError, TimeoutError) as error:
    print(f'The chat cannot be reached: {error}.', file=sys.stderr)
  return 1


if __name__ == '__main__':
  sys.exit(main())
