"""Who did what to an organization's things (decision 24)."""
