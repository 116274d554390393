# Dreamer Lite. `make` alone lists the targets; each makes its own environment in .venv first.
SHELL := bash
VENV ?= .venv
MINUTES ?= 5
RUN ?= runs/demo
PYTHON ?=
REPOSITORY ?=
OUT ?=
REF ?= colab
SITE ?=
ARGS ?=
# Tests on up to four cores, as many as have 3 GB of free memory each (tests/conftest.py).
SPREAD := -n auto --maxprocesses 4 --dist worksteal
# `make test` checks what programs compute, not how fast: XLA compiles them in a quarter of the time
# when it need not tune them. `make test-all` compiles as users do.
QUICKLY := JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS=--xla_cpu_use_fusion_emitters=false
# What `make test-all` runs after the rest, and where it writes down what was proved.
ALONE := tests/test_stacks.py tests/test_newcomer.py
RECORD := assets/verification.json

# JupyterLab begins with notebook 00, and lists what a reader needs.
UNLISTED := src __pycache__ INSTRUCTORS.md \
  $(addsuffix .py,bootstrap build diagrams drawing figures lint publish)
LAB := --LabApp.default_url=/lab/tree/00_the_dream.ipynb $(UNLISTED:%=--ContentsManager.hide_globs=%)

# Kernels have large pages, as commands do; see dreamer_lite/heap.py.
PAGES := GLIBC_TUNABLES=glibc.malloc.hugetlb=1

BIN := $(VENV)/bin
READY := $(VENV)/.ready
SPHINX := $(VENV)/site
GPU := $(VENV)/gpu

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lab lint publish site gpu-check clean interpreter

help:
	@echo "make demo    learn MinAtar Breakout for $(MINUTES) minutes, film the dream beside reality"
	@echo "make test    the tests, 15 to 20 minutes on 2 cores; make test-all: slow ones too"
	@echo "             (hours: other stacks, a newcomer), and writes $(RECORD)"
	@echo "make lab     the notebooks in JupyterLab, from 00 on"
	@echo "make lint    ruff and basedpyright"
	@echo "make publish REPOSITORY=https://github.com/OWNER/NAME OUT=DIR"
	@echo "             what the branch \`colab\` holds: notebooks with badges; pushes nothing"
	@echo "make site OUT=DIR   notebooks, docs and a dream to steer as web pages; publish makes them"
	@echo "             too, with badges, where SITE=DIR says"
	@echo "make gpu-check   compile what the course runs on a GPU for T4, L4 and A100, without a GPU"
	@echo "make clean   remove .venv and caches; runs/ stays"
	@echo
	@echo "demo takes MINUTES=$(MINUTES) and RUN=$(RUN); test, lab and gpu-check take ARGS=...;"
	@echo "the first of them makes .venv with the Python named by PYTHON=..., else the newest found."

demo: $(READY)
	@echo "Demo 1/3: learning MinAtar Breakout for $(MINUTES) minutes; Ctrl-C saves, again goes on"
	@"$(BIN)/dreamer-lite" train --world minatar/breakout --minutes $(MINUTES) --run "$(RUN)"
	@echo "Demo 2/3: playing 20 episodes"
	@"$(BIN)/dreamer-lite" evaluate --agent "$(RUN)" --episodes 20
	@echo "Demo 3/3: dreaming beside reality"
	@"$(BIN)/dreamer-lite" dream --agent "$(RUN)" --out "$(RUN)/dream.mp4"
	@echo "Watch it: $$(cd "$(RUN)" && pwd)/dream.mp4"

test: $(READY)
	@$(QUICKLY) "$(BIN)/python" -m pytest $(SPREAD) -m "not slow" $(ARGS)

# With ARGS a part of the tests, and no record. Without, two parts: ALONE needs the machine for
# itself, takes an hour or more, and shows what it does.
test-all: $(READY)
ifneq ($(strip $(ARGS)),)
	@"$(BIN)/python" -m pytest $(SPREAD) $(ARGS)
else
	@status=0; record="--verification $(RECORD)"; \
	"$(BIN)/python" -m pytest $(SPREAD) $$record $(ALONE:%=--ignore=%) || status=$$?; \
	"$(BIN)/python" -m pytest -v -s $$record $(ALONE) || status=$$?; \
	exit $$status
endif

lab: $(READY)
	@if [ ! -d notebooks ]; then echo "There is no folder notebooks/ here yet." >&2; exit 1; fi
	@$(PAGES) "$(BIN)/python" -m jupyterlab $(LAB) $(ARGS) notebooks

lint: $(READY)
	@"$(BIN)/python" -m ruff check .
	@"$(BIN)/python" -m ruff format --check .
	@"$(BIN)/python" -m basedpyright --pythonpath "$(BIN)/python"

# The workflow `publish` pushes this. REF names another branch, or a tag, that the badges open.
publish: $(READY) $(if $(SITE),$(SPHINX)/.ready)
	@"$(BIN)/python" notebooks/publish.py --repository "$(REPOSITORY)" --out "$(OUT)" --ref "$(REF)"
ifneq ($(SITE),)
	@"$(BIN)/python" -B "$(OUT)/docs/site/make_site.py" --out "$(SITE)" --sphinx "$(SPHINX)/bin/python"
endif

site: $(READY) $(SPHINX)/.ready
	@"$(BIN)/python" docs/site/make_site.py --out "$(OUT)" --sphinx "$(SPHINX)/bin/python"

# ARGS='--card T4 "walker 1m"' compiles a part. XLA's warnings that no driver is here are left out.
gpu-check: $(GPU)/.ready
	@TF_CPP_MIN_LOG_LEVEL=3 "$(GPU)/bin/python" -m dreamer_lite.tools.gpu_check $(ARGS)

clean:
	@if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	@rm -rf build dist ./*.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Prints the Python that .venv is made with.
interpreter:
	@bash -c "$$SETUP" setup interpreter

# .ready holds the checksum of the files that .venv was made from.
$(READY): requirements.txt pyproject.toml
	@bash -c "$$SETUP" setup environment

$(SPHINX)/.ready: docs/site/requirements.txt | $(READY)
	@bash -c "$$SETUP" setup sphinx

$(GPU)/.ready: tests/gpu-requirements.txt tests/colab-constraints.txt | $(READY)
	@bash -c "$$SETUP" setup gpu

# A shell script; `make` wants every dollar twice.
define SETUP
set -euo pipefail

fail() { printf '%s\n' "$$*" >&2; exit 1; }

supported() {  # "$$1" really runs (a shim may not) and is a Python that requirements.txt is for
  "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
    </dev/null >/dev/null 2>&1
}

can_make_environments() {  # Debian ships these two apart from Python
  "$$1" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1
}

have_uv() { uv --version </dev/null >/dev/null 2>&1; }

version() { "$$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

find_python() {
  local candidate incomplete=""
  for candidate in $${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    supported "$$candidate" || continue
    if have_uv || can_make_environments "$$candidate"; then
      command -v "$$candidate"
      return
    fi
    incomplete="$${incomplete:-$$candidate}"
  done
  if [ -n "$$incomplete" ]; then
    fail "$$incomplete cannot make environments: run \`sudo apt install python$$(version \
"$$incomplete")-venv\`, then this again."
  elif [ -n "$$PYTHON" ]; then
    fail "PYTHON=$$PYTHON is not a Python 3.11, 3.12 or 3.13 that runs."
  elif have_uv; then
    echo 3.13  # uv finds or fetches it
  else
    fail "No Python 3.11, 3.12 or 3.13 found: install one (Debian, Ubuntu: \`sudo apt install \
python3 python3-venv\`) or uv, or name one: PYTHON=/path/to/python3."
  fi
}

# Installs; on a terminal with one changing line, elsewhere silently. All of it goes to the log.
install() {
  if have_uv; then
    set -- uv pip install --python "$$into/bin/python" "$$@"
  else
    set -- "$$into/bin/python" -m pip install --disable-pip-version-check --no-input "$$@"
  fi
  "$$@" 2>&1 </dev/null | while IFS= read -r line; do
    printf '%s\n' "$$line" >>"$$log"
    if [ -t 1 ]; then printf '\r\033[K  %s' "$${line:0:76}"; fi
  done || {
    tail -n 15 "$$log" >&2
    fail "Installing failed. The whole log is $$log; what was fetched is kept, so try again."
  }
  if [ -t 1 ]; then printf '\r\033[K'; fi
}

environment() {
  local checksum python into="$(VENV)" log="$(VENV)/setup.log"
  checksum=$$(cat requirements.txt pyproject.toml | cksum)
  if supported "$(BIN)/python" && { have_uv || "$(BIN)/python" -m pip --version >/dev/null 2>&1; }
  then
    if [ "$$(cat "$(READY)" 2>/dev/null)" = "$$checksum" ]; then
      touch "$(READY)"  # only the time stamps had changed
      return
    fi
    echo "Setting up: bringing $(VENV) up to date, mostly a few seconds"
  else
    python=$$(find_python)
    if [ -e "$(VENV)" ] && [ ! -f "$(VENV)/pyvenv.cfg" ]; then
      fail "$(VENV) is in the way: it is no Python environment. Move it, or set VENV=..."
    fi
    rm -rf "$(VENV)"
    echo "Setting up: $(VENV), this once, by $$(have_uv && echo uv || echo pip) with $$python;" \
      "400 MB to fetch, 2 GB on disk, 1 to 5 minutes"
    if have_uv; then
      uv venv --quiet --seed --python "$$python" "$(VENV)"
    else
      "$$python" -m venv "$(VENV)"
    fi || fail "$$python could not make $(VENV)."
  fi
  : >"$$log"
  install -r requirements.txt
  install --no-deps -e .
  # What requirements.txt cannot name for Python 3.13: there dm_control goes in without its labmaze.
  "$(BIN)/python" -c 'from dreamer_lite.course import colab; colab.install(colab.requirements("dmc"))' \
    >>"$$log" 2>&1 || fail "Installing dm_control failed: see $$log. Try again."
  # nbgrader's menu and buttons are for those who grade: `jupyter labextension enable` brings them.
  "$(BIN)/jupyter" labextension disable --level=sys_prefix @jupyter/nbgrader >>"$$log" 2>&1 ||
    fail "Setting JupyterLab up failed: see $$log."
  printf '%s\n' "$$checksum" >"$(READY)"
  echo "Setting up: done in $$SECONDS s"
}

beside() {  # an environment of its own beside .venv: beside FOLDER LOG REQUIREMENTS WORDS
  local into="$$1" log="$$2"
  echo "Setting up: $$into, this once, $$4"
  rm -rf "$$into"
  if have_uv; then
    uv venv --quiet --python "$(BIN)/python" "$$into"
  else
    "$(BIN)/python" -m venv "$$into"
  fi || fail "$(BIN)/python could not make $$into."
  : >"$$log"
  install -r "$$3"
  touch "$$into/.ready"
}

case "$$1" in
  interpreter) find_python ;;
  sphinx) beside "$(SPHINX)" "$(VENV)/site.log" docs/site/requirements.txt "1 to 3 minutes" ;;
  gpu) beside "$(GPU)" "$(VENV)/gpu.log" tests/gpu-requirements.txt \
    "2 to 5 minutes; 300 MB to fetch, 1.2 GB on disk" ;;
  environment) environment ;;
esac
endef
export SETUP
export PYTHON
