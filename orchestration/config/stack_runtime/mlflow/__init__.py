"""Code for MLflow: init job, server, accounts, authorization, clean-up, move of artifacts."""
