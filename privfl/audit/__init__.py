"""Whether a claim of privacy holds, from what a run left behind: offline, and by whoever asks."""
