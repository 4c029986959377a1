# Every target sets up what it needs by itself (tools/setup.sh); the second time that takes no time.
# The user's own files: make demo IMAGE=ct.nii.gz SUPPORT=painted.nii.gz

VENV := .venv/bin
ARGS ?=
JOBS ?= 2
MINUTES ?=
DATA ?= ../shared/data
MORE_DATA ?= ../shared/more_data
ROWS ?= out/confidence

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slicer-5.10 lint wheel benchmark confidence history throughput train learn2learn adaptation screenshots pictures tutorial clean

help:
	@printf '%s\n' \
	  'make demo       segment a phantom patient painted on 3 slices; scene and pictures in out/demo' \
	  'make demo IMAGE=ct.nii.gz SUPPORT=painted.nii.gz    the same on your own files' \
	  'make test       run every test (ARGS="-k phantom" for some)' \
	  'make test-slicer-5.10  tests of what runs in Slicer, with the packages that Slicer 5.10 ships' \
	  'make lint       ruff and mypy' \
	  'make wheel      the package with its models, for pip, into dist' \
	  'make benchmark  accuracy and time against the baselines, then batches (DATA=, MORE_DATA=: two folders)' \
	  'make confidence fit how sure results are, and check it (ROWS=out/confidence, hours)' \
	  'make history    what the shipped weights reach on a phantom, into docs/benchmark_history.csv' \
	  'make throughput  images per minute of a batch (TASK=organs.medmetaseg IMAGES="patients/*.nii.gz")' \
	  'make train      meta-train the network anew (MINUTES=40, ARGS="--config configs/medmetaseg.toml")' \
	  'make learn2learn  build learn2learn 0.2.0 into .venv, for meta-learning of inner loops' \
	  'make adaptation  learn where the inner loop starts and how large its steps are (MINUTES=20)' \
	  'make screenshots  pictures of the panel on the test harness, into docs/pictures' \
	  'make pictures   pictures of the rooms, the network and training episodes, into docs/pictures' \
	  'make tutorial   pictures and figures of docs/tutorial.md (IMAGE=BaselineVolume.nrrd of Sample Data)' \
	  'make clean      remove what the other targets wrote; the environment in .venv stays' \
	  'make setup      the environment alone'

setup:
	@bash tools/setup.sh

demo: setup
	@$(VENV)/medmetaseg demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(SUPPORT),--support "$(SUPPORT)") $(ARGS)

# Files of tests run side by side, each process with one thread; JOBS=0 for one after the other.
test: setup
	@$(VENV)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slicer-5.10:
	@bash tools/test_slicer_5_10.sh $(ARGS)

lint: setup
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy

wheel: setup
	@$(VENV)/python -m pip --disable-pip-version-check --quiet wheel --no-deps --no-build-isolation -w dist .

benchmark: setup
	@$(VENV)/medmetaseg benchmark --data $(DATA) --out docs $(ARGS)
	@if [ -d "$(MORE_DATA)" ]; then $(VENV)/medmetaseg benchmark --data $(MORE_DATA) --out docs --resume $(ARGS); fi
	@$(VENV)/python -m MedMetaSegLib.evaluation.throughput $(DATA) --out docs --repeat 200

# Rows that are there are not gathered again: empty ROWS after a change of the network or of the features.
confidence: setup
	@$(VENV)/python -m MedMetaSegLib.evaluation.confidence_rows $(ROWS) $(DATA) $(MORE_DATA) --workers $(JOBS)
	@$(VENV)/python -m MedMetaSegLib.evaluation.confidence_report $(ROWS) --out docs --ship

history: setup
	@$(VENV)/python -m MedMetaSegLib.demo.history docs

# Your own: make throughput TASK=organs.medmetaseg IMAGES="patients/*.nii.gz"
throughput: setup
	@$(VENV)/python -m MedMetaSegLib.evaluation.throughput $(TASK) $(IMAGES) --out docs $(ARGS)

train: setup
	@$(VENV)/medmetaseg train $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

learn2learn: setup
	@bash tools/learn2learn.sh

adaptation: learn2learn
	@$(VENV)/python -m MedMetaSegLib.training.outer_loop $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

screenshots: setup
	@PYTHONPATH=Testing $(VENV)/python -m Harness.screenshots docs/pictures

pictures: setup
	@$(VENV)/python -m MedMetaSegLib.training.architecture_picture docs/pictures/architecture.svg
	@$(VENV)/python tools/rooms_picture.py docs/pictures/rooms.svg
	@$(VENV)/medmetaseg train --show-episodes docs/pictures/synthetic-episodes.png --seed 3

tutorial: setup
	@$(VENV)/python -m MedMetaSegLib.demo.tutorial "$(or $(IMAGE),BaselineVolume.nrrd)" docs/pictures

clean:
	@rm -rf out build MedMetaSeg/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find MedMetaSeg Testing -name __pycache__ -type d -prune -exec rm -rf {} +
