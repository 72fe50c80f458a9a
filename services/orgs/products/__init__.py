"""Products, their questionnaire, and how their devices get in (PRD-1 to PRD-3)."""
