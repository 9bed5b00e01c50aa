"""The whole system as an operator starts it, and the page as a person uses it."""
