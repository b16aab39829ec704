"""Files that a third party can check: JSON lines, bound to the ones before by hashes, to their writer by signatures."""
