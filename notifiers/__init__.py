"""One file per kind of receiver; ``base`` owns the contract. Nothing in here imports ``listener``."""
