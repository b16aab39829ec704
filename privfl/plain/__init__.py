"""`plain`: the baseline. The server reads every client's vector; nothing is protected."""
