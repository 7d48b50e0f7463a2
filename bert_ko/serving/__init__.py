"""A server for trained models: batches, limits, JSON and one page."""
