"""``lotus-durable doctor``: is everything as it must be, and if not, what is to be done."""

from __future__ import annotations

import argparse

from lotus_durable.config import environment_options
from lotus_durable.options import environment_name

from .arguments import argument
from .command import Command
from .existing import Configured, configured
from .output import ExitCode, plain, say, say_json

_DESCRIPTION = """\
Try everything that a queue and its flusher need here, and say in a line each what to do: user and directory, file
system and its locks (tried with two processes and a kill), disk, the queue and its flusher, versions in use, the
interpreter for a flusher, and, by asking the server: host, TLS, key, organisation and clock. With relay_url it asks the
broker, too: its nodes, the queue, and what may take a message that it has confirmed. Then it shows the settings and
where each comes from, but neither the key nor relay_url, which has a password in it. Run it as the application's user,
with its environment. Changes nothing, neither here nor at the broker.

keys of --json:
  ok             whether nothing is wrong
  answers        a list of {about, mark, text, remedy}; mark is ok, warning or wrong
  settings       a list of {name, value, source}"""

_SIGNS = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}
_HIDDEN = {"api_key", "relay_url"}


def _run(arguments: argparse.Namespace) -> ExitCode:
    from lotus_durable.operate.examination import examine  # with requests

    found = configured(arguments)
    answers = []
    for answer in examine(found.config):
        answers.append(answer)
        if not arguments.json:
            remedy = f" - {answer.remedy}" if answer.remedy else ""
            say(plain(f"{_SIGNS[answer.mark]}  {answer.about:<11}  {answer.text}{remedy}"))
    settings = _settings(found, arguments)
    is_ok = not any(answer.mark == "wrong" for answer in answers)
    if arguments.json:
        say_json({"ok": is_ok, "answers": [answer._asdict() for answer in answers], "settings": settings})
    else:
        for setting in settings:
            if arguments.settings or setting["source"] != "default":
                say(plain(f"setting  {setting['name']} = {setting['value']} ({setting['source']})"))
    return ExitCode.DONE if is_ok else ExitCode.NOT_COMPLETE


def _settings(found: Configured, arguments: argparse.Namespace) -> list[dict[str, str]]:
    known = environment_options()
    settings = []
    for name, value in found.config._asdict().items():
        variable = environment_name(name)
        if name == "constants" or (variable not in known and name != "queue_dir"):
            continue
        source = "default"
        if name == "queue_dir":
            source = found.source
        elif getattr(arguments, name, None) is not None:
            source = f"--{name.replace('_', '-')}"
        elif name == "api_key" and (arguments.api_key_file or found.variables.get("LOTUS_API_KEY_FILE")):
            source = "--api-key-file" if arguments.api_key_file else "LOTUS_API_KEY_FILE"
        elif found.variables.get(variable):
            source = found.places.get(variable, variable)
        shown = "set, and not shown" if name in _HIDDEN and value is not None else str(value)
        settings.append({"name": name, "value": shown, "source": source})
    return settings


COMMAND = Command(
    name="doctor",
    summary="look whether everything is as it must be, and say what to do",
    description=_DESCRIPTION,
    run=_run,
    arguments=(argument("--settings", action="store_true", help="show those too that are the defaults"),),
    options=("queue_dir", "api_key", "api_key_file", "host", "timeout", "flusher", "max_queue_bytes"),
    examples="lotus-durable doctor\nsudo -u app env LOTUS_ENV_FILE=/etc/app/lotus.env lotus-durable doctor --settings",
    done="nothing is wrong; there may be warnings",
    not_complete="something is wrong, and stands in a line that begins with WRONG",
    wrong_usage="wrong usage or configuration",
    damaged="",
)
