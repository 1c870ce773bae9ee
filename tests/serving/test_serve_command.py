"""`imageloom serve` starts light, says where it is, and ends as it is told to."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from test_serve_http import RED, ask


def serve(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signal_ends_it_quietly(serving, exported_model, number, code):
    with serving(exported_model) as (address, server):
        assert ask(address, "/predict", RED)[0].status == 200
        server.send_signal(number)
        output, errors = server.communicate(timeout=60)
        assert server.returncode == code
        assert errors == ""
        assert "Traceback" not in output


def test_no_heavy_library_is_loaded_while_it_serves(exported_model):
    script = """
import os, re, sys, threading, urllib.request
from imageloom import cli, console
def probe(line, say=console.say):
    say(line)
    if "http" in line:
        threading.Thread(target=lambda: ask(re.search(r"http://[\\w.:]+", line)[0])).start()
def ask(address):
    body = bytes.fromhex(sys.argv[2])
    urllib.request.urlopen(address + "/predict", body).read()
    urllib.request.urlopen(address + "/").read()
    names = {"tensorflow", "tf_keras", "pandas", "mlflow", "sklearn", "pyarrow", "prefect", "dvc"}
    say(repr(sorted(names & set(sys.modules))))
    os.kill(os.getpid(), 15)
say, console.say = console.say, probe
sys.exit(cli.main(["serve", "--port", "0", "--model", sys.argv[1]]))
"""
    command = [sys.executable, "-c", script, str(exported_model), RED.hex()]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def test_taken_port_is_an_error_with_a_hint(exported_model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = serve("--port", other.getsockname()[1], "--model", exported_model)
    assert run.returncode == 2
    assert run.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert "\nhint: another program has it" in run.stderr


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_address_of_another_machine_is_an_error(exported_model, host):
    run = serve("--host", host, "--port", 0, "--model", exported_model)
    assert run.returncode == 2
    assert "hint: " in run.stderr
    assert "Traceback" not in run.stderr


def test_missing_model_is_an_error_with_a_hint(tmp_path):
    run = serve("--port", 0, "--model", tmp_path)
    assert run.returncode == 2
    assert "model.json is missing" in run.stderr
    assert "hint: run this in the project's folder, where params.yaml is, or name the folder of" in run.stderr


@pytest.mark.parametrize("options", [("--port", "70000"), ("--port", "x"), ("--threads", "0")])
def test_bad_option_is_refused(exported_model, options):
    assert serve(*options, "--model", exported_model).returncode == 2


def test_all_addresses_can_be_listened_on(serving, exported_model):
    with serving(exported_model, "--host", "0.0.0.0") as (address, _):
        with urllib.request.urlopen(f"{address}/healthz", timeout=60) as reply:
            assert json.load(reply) == {"status": "ok"}
        assert "0.0.0.0" not in address


def test_waiting_requests_are_not_warned_about(serving, exported_model):
    from concurrent.futures import ThreadPoolExecutor

    with serving(exported_model, "--threads", "1") as (address, server):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: ask(address, "/predict", RED), range(64)))
        server.send_signal(signal.SIGTERM)
        assert server.communicate(timeout=60)[1] == ""
