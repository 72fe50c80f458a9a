"""The event store: ``port`` says what it promises, the other modules keep the promise on one kind of server each."""
