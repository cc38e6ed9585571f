"""The catalogue: whatever may be sent to a node, in rows, by subject."""

from tests.wire import batches, bodies, fields, framing, pairs, queries, requests
from tests.wire.row import Row

ROWS: tuple[Row, ...] = (
    *bodies.ROWS,
    *fields.ROWS,
    *batches.ROWS,
    *requests.ROWS,
    *queries.ROWS,
    *pairs.ROWS,
    *framing.ROWS,
)
