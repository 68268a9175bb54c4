"""The panel that the user sees: one section a file, in the order in which the user meets them. All of Qt is here."""
