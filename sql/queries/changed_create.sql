-- Where the changed devices of a flush arrive before they are merged; lives as long as the connection.
CREATE TEMPORARY TABLE {kind}_changed (LIKE {kind}_current INCLUDING DEFAULTS) ON COMMIT DELETE ROWS
