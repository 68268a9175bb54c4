"""What the user sees: one section of the panel a file, in the order in which the user meets them. All of Qt is here."""
