"""Files: atomic writes, reads of untrusted files, locks, checksums, the cache."""
