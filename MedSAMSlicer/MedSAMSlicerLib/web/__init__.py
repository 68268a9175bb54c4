"""A web page and an API on the controller of `app/`. Not shipped to Slicer; only the command line knows it."""
