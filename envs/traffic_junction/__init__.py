"""Traffic junction."""
