"""What others do, to be measured beside the suites; no suite, and not for use."""
