"""Views folded from events: ``view`` says what one is (pure), ``database`` has the tables, ``projector`` runs it."""
