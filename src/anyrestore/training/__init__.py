"""Training: one loop, one objective, recipes as typed values; every run can be resumed."""
