# Two commands do it all: `make run` and `make test`. Both install what they need into .venv first.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell $(name) -c 'import sys; print(sys.executable) if (3,11) <= sys.version_info < (3,14) else None' 2>/dev/null)))
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed
# In two processes: each file as a whole in one of them, in the order that tests/conftest.py gives them.
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder
PORT ?= 8090

export PATH := $(BIN):$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-unit torture lint format serve ui demo baselines bench bench-embed bench-export bench-train bench-pipeline bench-crawl bench-serve bench-clean setup browser lock clean

help:
	@echo "make run     install, run the whole pipeline on the demo, say how good the model is"
	@echo "make test    install, run every test"
	@echo "make serve   answer predictions at http://127.0.0.1:$(PORT)"
	@echo "make ui      Prefect and MLflow in the browser, and the nightly recrawl"
	@echo "make demo    look at the demo's gallery in a browser"
	@echo "make baselines  compare the recipes of baselines.yaml on your pictures: a ranking, and a chart"
	@echo "make torture  the kill loops and 20,000 mutated requests"
	@echo "make lint    ruff and mypy;  make format  lets ruff mend what it can"
	@echo "make bench   every benchmark;  make bench-embed, bench-export, bench-train, bench-pipeline, bench-crawl, bench-serve, bench-clean  one of them"
	@echo "make lock    resolve the dependencies anew;  make clean  remove what can be made again"

run: $(STAMP)
	@dvc repro
	@imageloom summary

test: $(STAMP) browser lint
	@$(PYTEST) -m "not alone"
	@pytest -m alone

test-unit: $(STAMP)
	@$(PYTEST) -m "not slow and not alone"
	@pytest -m "alone and not slow"

# What `make test` runs in a shortened form, at full length.
torture: $(STAMP)
	@IMAGELOOM_TORTURE=1 pytest tests/test_resume.py tests/serving/test_hostile.py

lint: $(STAMP)
	@ruff check .
	@ruff format --check .
	@mypy

format: $(STAMP)
	@ruff check --fix .
	@ruff format .

serve: $(STAMP)
	@imageloom serve --port $(PORT) || [ $$? = 130 ]

ui: $(STAMP)
	@python -m flows.ui || [ $$? = 130 ]

demo: $(STAMP)
	@imageloom demo || [ $$? = 130 ]

# NAMES="probe head" runs some. Parameters, models and reports of the project stay as they are.
baselines: $(STAMP)
	@python -m flows.baselines $(NAMES) || [ $$? = 130 ]

bench: bench-embed bench-export bench-train bench-pipeline bench-crawl bench-serve bench-clean

bench-embed: $(STAMP)
	@python benchmarks/embed.py

# On the project's own model, so after `make run`.
bench-export: $(STAMP)
	@python benchmarks/export.py
	@python benchmarks/predict.py
	@python benchmarks/evaluate.py

# FINETUNE_OPTIONS="--seeds 0 1 2 3 4" fine-tunes for the paper's whole protocol, which takes hours on two cores.
bench-train: $(STAMP)
	@python benchmarks/train.py
	@python benchmarks/make.py
	@python benchmarks/finetune.py $(FINETUNE_OPTIONS)

bench-pipeline: $(STAMP)
	@python benchmarks/pipeline.py

# Beside img2dataset, which it installs into .bench; nginx serves the pictures.
bench-crawl: $(STAMP)
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || $$([ "$$(id -u)" = 0 ] || echo sudo -n) apt-get -qq install --yes nginx-light >/dev/null
	@python benchmarks/crawl.py

# Beside LitServe and FastAPI, which it installs into .bench; wrk is the client. SERVE_OPTIONS="--soak 60" is shorter.
bench-serve: $(STAMP)
	@command -v wrk >/dev/null || $$([ "$$(id -u)" = 0 ] || echo sudo -n) apt-get -qq install --yes wrk >/dev/null
	@python benchmarks/serve.py $(SERVE_OPTIONS)

# On the project's own pictures, so after `make run`.
bench-clean: $(STAMP)
	@python benchmarks/clean.py
	@python benchmarks/review.py

setup: $(STAMP)

# The lock is all that is installed, by uv, which the lock itself names. It compiles what it installs: 15 s once, and
# every stage starts seconds sooner, also where Python is told or forced not to write bytecode.
$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed" >&2; echo "hint: install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@awk '/^uv==/ {found = 1} found {print} found && !/\\$$/ {exit}' requirements.lock > .venv/uv.txt
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt
	@echo "installing what requirements.lock names into .venv ..."
	@VIRTUAL_ENV="$(CURDIR)/.venv" uv pip install --quiet --compile-bytecode --no-deps --require-hashes -r requirements.lock
	@VIRTUAL_ENV="$(CURDIR)/.venv" uv pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src flows
	@touch $(STAMP)

# The browser of the tests that use one, from the system's packages; without it they say loudly that they are skipped.
browser:
	@command -v chromium >/dev/null && fc-list 2>/dev/null | grep -qi "cjk" || ./.ci/install-browser

lock: $(STAMP)
	@uv pip compile pyproject.toml --group demo --group dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --custom-compile-command "make lock" --quiet $(LOCK_OPTIONS) -o requirements.lock

# What was crawled, decided, cached by DVC and logged to MLflow stays.
clean:
	rm -rf .venv models/backbone models/classifier models/export data/features data/.features.new data/.thumbnails data/clean data/split reports
	rm -rf .mypy_cache .pytest_cache .ruff_cache src/imageloom.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
