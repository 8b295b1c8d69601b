"""What every environment is built of."""
