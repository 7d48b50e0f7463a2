"""Programs that are written beside an exported model, each of a head and a body of these modules.

They use the model and its tokenizer, nothing of bert_ko; see ../export_files.py.
"""
