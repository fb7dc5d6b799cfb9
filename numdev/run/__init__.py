"""From a matrix to records in a store: resolve, plan, execute, ingest; and back again for the answer."""
