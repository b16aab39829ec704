"""Model updates as bounded integers, and back: fixed point, counts, layout, residues."""
