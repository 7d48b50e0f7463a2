"""What the recipes share: a configuration, steps that go on after a kill, and a table."""
