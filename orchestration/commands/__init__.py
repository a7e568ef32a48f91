"""One module per `inv` command."""
