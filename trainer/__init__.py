"""From preference pairs to an aligned model. Only here is torch imported, and never at package import."""
