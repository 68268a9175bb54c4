"""The fault campaign: many seeded tries of everything that must never lose a user's data.

    python -m Testing.Campaign                       # every row with its full count
    python -m Testing.Campaign kills --count 5 --seed 3

A row is a module of this folder with `COUNT`, its full number of tries, and `run(seed, count) -> list[Row]`.
"""
