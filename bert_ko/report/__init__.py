"""What every report.html is made of: pages, curves, lists and the confusion matrix."""
