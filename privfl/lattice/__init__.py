"""What suites over rings of polynomials share: exact products by Fourier transforms."""
