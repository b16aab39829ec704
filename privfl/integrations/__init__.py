"""privfl inside other stacks; each an extra, imported by nothing else here."""
