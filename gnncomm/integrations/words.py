"""First bytes of the messages between the training and its workers."""

STEP, RESET, PICTURE = b"s", b"r", b"p"
"""Requests to a worker."""
ANSWER, FORM, ALIVE, FAILED, HELLO = b"a", b"f", b".", b"x", b"h"
"""What comes from it: HELLO with its process number, once; FORM, once; ALIVE now and then; ANSWER or FAILED."""
