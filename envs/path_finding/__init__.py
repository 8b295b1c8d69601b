"""Path finding by many."""
