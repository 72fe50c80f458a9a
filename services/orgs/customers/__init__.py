"""Companies' customers, private betas, and devices that change hands (CUS-1 to CUS-7, PRD-4)."""
