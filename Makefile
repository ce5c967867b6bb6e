# The only place where commands are spelled out. `make table4` and `make test` need nothing but this folder,
# Python 3.11 or later and make; PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The authors' public lists, if a clone of OceanSummerDay/HSTA_MER lies there.
LISTS := $(if $(wildcard external/HSTA_MER),-p lists_root external/HSTA_MER)

NOTEBOOKS := $(basename $(notdir $(wildcard notebooks/*.ipynb)))
# Runs what must be deterministic in reports and compares it with what they show; see conftest.py.
STRICT := $(BIN)/python -m pytest -q --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg -W default
# Reports whose data are others than those of Tables 1 to 4 and take minutes to make.
OTHER_DATA := table5 table6 table7
define NEWLINE


endef

.PHONY: help setup $(NOTEBOOKS) reports results check site test slow readme plan lab clean

help:
	@echo "make table4   report of Table 4, preset quick, in reports/table4.ipynb; likewise each of"
	@echo "              $(NOTEBOOKS)"
	@echo "make test     all tests: ruff, pytest, every notebook, what needs no training in reports"
	@echo "make setup    the environment alone, in .venv"
	@echo "make reports  all reports as committed, preset study (two hours on two cores; resumable)"
	@echo "make results  unpack the committed results, so that make reports trains only what is missing"
	@echo "make check    every score of the committed reports once more, from the committed predictions, and"
	@echo "              whatever else of them needs no training"
	@echo "make site     the reports as web pages, in site/index.html"
	@echo "make slow     the tests that take minutes"
	@echo "make readme   rewrite the generated tables of README.md"
	@echo "make plan     what the whole paper costs at full size; TFLOPS=300 sets the rate of a GPU"
	@echo "make lab      JupyterLab on the notebooks"
	@echo "make clean    remove the environment; data/ and results/ stay"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; choose one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv: a minute or two from a warm pip cache, longer with downloads"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $(READY)

# A report is written beside its place and moved there when it is complete: a failed run replaces nothing.
define report
	$(BIN)/papermill --no-progress-bar notebooks/$(1).ipynb reports/$(1).partial.ipynb $(2) \
		|| { echo "It failed; reports/$(1).partial.ipynb shows where. reports/$(1).ipynb is as it was."; exit 1; }
	@mv reports/$(1).partial.ipynb reports/$(1).ipynb
	@echo "The report is reports/$(1).ipynb; read it with: make lab"
endef

$(filter-out audit,$(NOTEBOOKS)): setup
	$(call report,$@)

audit: setup
	$(call report,audit,$(LISTS))

# The audit comes first: the trials it shares with the tables are then stored with their epochs. It decides no
# claim and makes do with two seeds. The claims, which are gathered from the other reports, come last.
reports: setup
	$(call report,audit,-p preset study $(LISTS))
	$(foreach name,$(filter-out audit claims,$(NOTEBOOKS)) claims,$(call report,$(name),-p preset study)$(NEWLINE))

# Results committed beside the reports, into results/; none that is there is replaced.
results: setup
	$(BIN)/python -m hsta_lib.training.archive

check: setup
	$(BIN)/python -m pytest -q tests/test_reports.py
	$(STRICT) reports

site: setup
	$(BIN)/python -m hsta_lib.commands.site

test: setup
	$(BIN)/ruff check hsta_lib notebooks tests benchmarks
	$(BIN)/ruff format --check hsta_lib notebooks tests benchmarks
	$(BIN)/python -m pytest -q
	$(BIN)/python -m pytest -q --nbval-lax --nbval-current-env --nbval-cell-timeout 300 -W default notebooks
	$(STRICT) reports $(foreach name,$(OTHER_DATA),--ignore reports/$(name).ipynb)

slow: setup
	$(BIN)/python -m pytest -q -m slow

readme: setup
	$(BIN)/python -m hsta_lib.commands.docs

plan: setup
	$(BIN)/python -m hsta_lib.commands.plan $(addprefix --tflops ,$(TFLOPS))

lab: setup
	$(BIN)/jupyter lab

clean:
	rm -rf .venv build
