"""From a finished plan to the text of a project: views, and the templates that place them."""
