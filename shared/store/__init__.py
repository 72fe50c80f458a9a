"""The event store: ``port`` says what it promises, the other modules keep the promise on one kind of server each."""

from shared.store.open import open_store

__all__ = ["open_store"]
