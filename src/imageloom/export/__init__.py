"""The stage that makes the models which others run."""
