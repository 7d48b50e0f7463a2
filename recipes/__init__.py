"""Recipes: from a folder of text to a table of scores."""
