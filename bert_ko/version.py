"""The version of bert_ko, which setup.cfg has too."""

VERSION = "0.1.0"
