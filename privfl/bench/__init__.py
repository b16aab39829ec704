"""What protection costs: measured, side by side with plain."""
