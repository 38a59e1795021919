# `make demo` and `make test` set up everything they need: Python 3.11+ and make are enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test slow bench lint format docs eyes recognition ablation attributes audit cheats skew lookalikes picture clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "efface needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/efface demo --out runs/demo

# Two processes; the tests of a file share what they set up. `pytest` alone runs them one after the other, for a debugger.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile

slow: setup
	$(BIN)/pytest -n 2 --dist loadfile -m slow

# How near loops are to the limit, steps to what the processor multiplies, photos and a whole experiment to a notebook's, and
# scrub to published packages' own, in CPU seconds; what several processes gain (over an hour on two cores that do nothing
# else; installs the packages).
bench: setup
	$(BIN)/python benchmarks/loops.py
	$(BIN)/python benchmarks/peak.py
	$(BIN)/python benchmarks/experiment.py
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python docs/print_results.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The documentation, into site/: opens from disk and needs no network. Pages that follow from the code are printed first.
docs: setup
	$(BIN)/python docs/print_reference.py
	$(BIN)/python docs/print_results.py
	$(BIN)/python docs/draw_packages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo site/index.html

# One group asks to be forgotten: eye centres, on the real faces in ../shared (about half an hour on 2 cores).
eyes: setup
	$(BIN)/efface run plans/eyes.toml --out runs/eyes

# CURE and its label-free rivals, and what each part of CURE does, on the real faces in ../shared.
recognition: setup
	$(BIN)/efface run plans/recognition.toml --out runs/recognition

ablation: setup
	$(BIN)/efface run plans/cure_ablation.toml --out runs/cure_ablation

# PIU-FR and the whole family of baselines on ages, on the real faces in ../shared (about two hours on 2 cores).
attributes: setup
	$(BIN)/efface run plans/attributes.toml --out runs/attributes

# 64 shadow models on the real faces in ../shared (half an hour on 2 cores), and what fools a score but not an audit, on
# synthetic faces.
audit: setup
	$(BIN)/efface run plans/audit.toml --out runs/audit

cheats: setup
	$(BIN)/efface run plans/cheats.toml --out runs/cheats

# One group asks more often than others, or all of it does, on the real faces in ../shared.
skew: setup
	$(BIN)/efface run plans/skew_eyes.toml --out runs/skew_eyes --jobs 2
	$(BIN)/efface run plans/whole_group_eyes.toml --out runs/whole_group_eyes --jobs 2

# What teaches in lookalikes, on the real faces in ../shared (about half an hour on 2 cores).
lookalikes: setup
	$(BIN)/efface run plans/lookalikes.toml --out runs/lookalikes --jobs 2

# The picture in the README: the top of the demo's report, by Debian's chromium.
picture: demo
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1100,965 --screenshot=docs/report.png "file://$(CURDIR)/runs/demo/report.html"

clean:
	rm -rf .venv runs
