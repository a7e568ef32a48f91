"""MLflow's side: init job, server, accounts, authorization, clean-up, moving of artifacts."""
