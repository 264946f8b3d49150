"""How far a result can be trusted: predicted Dice, interval for EF, and why; calibrated on held-out predictions."""
