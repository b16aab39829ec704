"""A Flower app that learns scikit-learn's digits, protected by privfl."""
