"""What structured pruning is made of: coupled channels, their worth, budgets, and refits of what reads them."""
