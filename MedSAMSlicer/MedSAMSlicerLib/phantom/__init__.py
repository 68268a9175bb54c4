"""A generated CT volume of an abdomen with known organs: sample data, demonstration and tests need no patient."""
