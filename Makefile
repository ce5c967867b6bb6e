# The only place where commands are spelled out. `make table4` and `make test` need nothing but this folder,
# Python 3.11 or later and make; PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The authors' public lists, if a clone of OceanSummerDay/HSTA_MER lies there.
LISTS := $(if $(wildcard external/HSTA_MER),-p lists_root external/HSTA_MER)

# Notebooks on published pictures of flow and weights, and the clones that they need; see docs/datasets.md.
REAL := extractions honest reproduce
CLONES := external/HTNet external/CausalNet external/STSTNet
# Notebooks that are about other data too, and the extraction that each sees.
ON_FLOW := data-htnet table1-causalnet table3-causalnet table4-causalnet controls-causalnet table5-htnet
# Where no claim is decided three seeds do. Leaving one subject out, STSTNet as published has five, the others have
# one.
$(foreach name,table4 controls,$(eval OPTIONS_$(name) := -y 'seeds: [0, 1, 2]'))
OPTIONS_reproduce := -y 'seeds: [0, 1, 2, 3, 4]'
OPTIONS_honest := -y 'seeds: [0]'
OPTIONS_table5 := $(OPTIONS_honest)
HAS_CLONES := $(if $(filter-out $(wildcard $(CLONES)),$(CLONES)),,yes)
NOTEBOOKS := $(basename $(notdir $(wildcard notebooks/*.ipynb)))
# Runs what must be deterministic in reports and compares it with what they show; see conftest.py.
STRICT := $(BIN)/python -m pytest -q --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg \
	-W default --ignore reports/local
# Reports whose data are others than those of Tables 1 to 4 and take minutes to make.
OTHER_DATA := table5 table6 table7
# Parameters of the notebooks, given as PRESET=study; a name that is none of these is refused. RIVALS is the
# old name of BASELINES.
TEXTS := PRESET RECIPE DATASET DATA_ROOT VARIANT REPAIR LABELS SPLIT LISTS_ROOT MACRO_CLIPS SCHEDULER DEVICE CLIP \
	CHECKPOINT NETWORK CLIPS
VALUES := SEEDS WORKERS ACCEPT_OTHER_CODE GRID BASELINES RIVALS EXPORT FOLD ONSET APEX OFFSET
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(TEXTS) $(VALUES) PYTHON TFLOPS MAKEFLAGS MAKEOVERRIDES,$(GIVEN))
$(if $(UNKNOWN),$(error $(firstword $(UNKNOWN)) is no parameter; known: $(TEXTS) $(VALUES) PYTHON TFLOPS))
lower = $(shell echo $(1) | tr A-Z a-z)
# -r takes a value as it is written (CLIP=006), -y reads it (SEEDS=0,1).
CHOSEN = $(foreach name,$(filter $(TEXTS),$(GIVEN)),-r $(call lower,$(name)) $(call quoted,$(value $(name)))) \
	$(foreach name,$(filter $(VALUES),$(GIVEN)),-y $(call quoted,$(call lower,$(name)): $(call listed,$(name))))
listed = $(if $(filter SEEDS BASELINES RIVALS,$(1)),[$(subst ],,$(subst [,,$(value $(1))))],$(value $(1)))
# For the shell, whatever it holds.
quoted = '$(subst ','\'',$(1))'

# Tests run on all cores, those of a file one after the other: they share what is slow to make.
CORES := -n logical --dist loadfile
define NEWLINE


endef

.PHONY: help setup $(NOTEBOOKS) reports export real results check site test slow readme plan lab clean

help:
	@echo "make table4   report of Table 4, preset quick, in reports/local/table4.ipynb; likewise each of"
	@echo "              $(NOTEBOOKS)"
	@echo "              parameters in capitals: make table4 PRESET=study SEEDS=0,1 DATASET=own DATA_ROOT=~/mine"
	@echo "make test     all tests: ruff, pytest, every notebook, what needs no training in reports"
	@echo "make setup    the environment alone, in .venv"
	@echo "make reports  all reports as committed, preset study (hours on two cores; resumable)"
	@echo "make real     the reports on real motion, reports/real-*, from clones in external/ (docs/datasets.md)"
	@echo "make export   all reports once more in reports/local, their figures as SVG and PNG, their tables as CSV"
	@echo "              and LaTeX beside them; EXPORT=true does it for one report"
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
# $(1) notebook, $(2) folder, $(3) options, $(4) what its name begins with there.
define report
	@mkdir -p $(2)
	@$(BIN)/python -m hsta_lib.commands.execute notebooks/$(1).ipynb $(2)/$(4)$(1).partial.ipynb $(3) \
		|| { echo "It failed; $(2)/$(4)$(1).partial.ipynb shows where. $(2)/$(4)$(1).ipynb is as it was."; exit 1; }
	@mv $(2)/$(4)$(1).partial.ipynb $(2)/$(4)$(1).ipynb
	@echo "The report is $(2)/$(4)$(1).ipynb; read it with: make lab"
endef

# $(1) notebook and extraction, $(2) folder, $(3) more options.
on_flow = $(call report,$(word 1,$(1)),$(2),-p preset study -p dataset megc2019_flow -p variant $(word 2,$(1)) $(OPTIONS_$(word 1,$(1))) $(3),real-)
# All reports on real motion: $(1) folder, $(2) more options.
define on_real_motion
	$(foreach pair,$(ON_FLOW),$(call on_flow,$(subst -, ,$(pair)),$(1),$(2))$(NEWLINE))
	$(foreach name,$(REAL),$(call report,$(name),$(1),-p preset study $(OPTIONS_$(name)) $(2),real-)$(NEWLINE))
endef

# One's own runs lie in a folder that git ignores: the committed reports change by `make reports` alone.
$(NOTEBOOKS): setup
	$(call report,$@,reports/local,$(if $(filter audit,$@),$(LISTS)) $(CHOSEN))

# The claims, which are gathered from the other reports, come last.
reports: setup
	$(call report,audit,reports,-p preset study $(LISTS))
	$(foreach name,$(filter-out audit claims $(REAL),$(NOTEBOOKS)) claims,$(call report,$(name),reports,-p preset study)$(NEWLINE))
	@echo "Left as committed: $(REAL:%=reports/real-%.ipynb); made by: make real"

export: setup
	$(foreach name,$(filter-out $(REAL),$(NOTEBOOKS)),$(call report,$(name),reports/local,-p preset study -y 'export: true')$(NEWLINE))
	$(if $(HAS_CLONES),$(call on_real_motion,reports/local,-y 'export: true'))

real: setup
	@$(if $(HAS_CLONES),true,echo "make real needs clones in $(CLONES); docs/datasets.md says which" && exit 1)
	$(call on_real_motion,reports)
	$(call report,claims,reports,-p preset study)

# Results committed beside the reports, into results/; none that is there is replaced.
results: setup
	$(BIN)/python -m hsta_lib.training.archive

check: setup
	$(BIN)/python -m pytest -q tests/evaluation/test_committed.py
	$(STRICT) reports

site: setup
	$(BIN)/python -m hsta_lib.commands.site

test: setup
	$(BIN)/ruff check hsta_lib notebooks tests benchmarks
	$(BIN)/ruff format --check hsta_lib notebooks tests benchmarks
	$(BIN)/python -m pytest -q $(CORES)
	$(BIN)/python -m pytest -q $(CORES) --nbval-lax --nbval-current-env --nbval-cell-timeout 300 -W default notebooks \
		$(foreach name,$(if $(HAS_CLONES),honest,$(REAL)),--ignore notebooks/$(name).ipynb)
	$(STRICT) $(CORES) reports $(foreach name,$(OTHER_DATA),--ignore reports/$(name).ipynb)

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
