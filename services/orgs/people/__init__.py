"""Accounts of people: signing up, what they change of their own account, being forgotten (ACC-1 to ACC-4, EVT-5)."""
