"""How services talk: nameko's classes and nameko's wire, hosted on threads, in one process or over RabbitMQ."""

import os
import warnings

# nameko imports eventlet, which warns on every start; nothing of ours runs on it (docs/decisions/01)
warnings.filterwarnings("ignore", message=r"(?s).*Eventlet is deprecated")
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")  # a resolver of 230 modules, a tenth of every process's start
