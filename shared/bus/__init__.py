"""How services talk: nameko's classes and nameko's wire, hosted on threads, in one process or over RabbitMQ."""
