"""A page and an HTTP service around the models; see docs/server.md.

Nothing of a client reaches another host, nor the file system, but feature maps of large pictures in nameless
files: pictures come and go as bytes, models by names of a fixed table. The process that talks to clients does
not compute: it counts, waits, answers, and looks at the headers of files. Decoding, the model and encoding
happen in worker processes, which may die without taking anything along.

| file | what lives there |
|---|---|
| `settings.py` | every limit, in one table |
| `orders.py` | what is asked of a worker, and what it answers |
| `engine.py` | who is let in, who is next, which worker does it |
| `pipes.py` | what passes between the two |
| `worker.py` | the process that computes |
| `protocol.py` | deadlines for what a client sends and reads |
| `guards.py` | hosts, origins, the token, headers of every answer |
| `problems.py` | from an error's code to a status and a body |
| `upload.py` | a picture taken from a request's body, counted as it comes |
| `api.py` | the routes |
| `measures.py` | what /metrics says |
| `page.py`, `static/` | the page: orders and what becomes of them; what is seen |
| `gate.py` | what of the page's framework can be reached |
| `listeners.py` | who listens for which order of the page, and for how long |
| `shelf.py` | pictures between two requests of the page, in memory |
| `running.py` | start, signals, the end |
"""
